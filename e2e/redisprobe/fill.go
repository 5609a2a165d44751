package redisprobe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
)

const (
	// fillValue is a value's size in bytes: with Redis' header it takes a 4 KiB allocation, so N MiB of values are N MiB of memory.
	fillValue = 4064
	perMiB    = 256
	fillBatch = 512 // commands on the way at a time
)

// Fill stores mib MiB of data that cannot be compressed, the same for the same seed, under keys "fill:N".
func (c *Conn) Fill(ctx context.Context, mib int, seed uint64) error {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	value := make([]byte, fillValue)
	total := mib * perMiB
	for done := 0; done < total; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(fillBatch, total-done)
		for i := range n {
			rng.Read(value) //nolint:errcheck // it never fails
			if err := c.Send("SET", "fill:"+strconv.Itoa(done+i), string(value)); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		for range n {
			if _, err := c.Receive(); err != nil {
				return fmt.Errorf("fill: %w", err)
			}
		}
		done += n
	}
	return nil
}
