package store

import (
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// MaxKeyBytes is the longest key, its kind included.
const MaxKeyBytes = 512

// MaxTxnReads is how many preconditions a transaction may have: one less than etcd takes, because that back end adds the
// comparison of its leader key to each of them.
const MaxTxnReads = 128 - 1

// opOverhead is what one operation costs on the wire beside its key and value, generously.
const opOverhead = 64

// ErrInvalid: the transaction can't be proposed as it is (empty, a bad key, a key both put and deleted). Nothing was written.
var ErrInvalid = errors.New("store: invalid transaction")

// Check tells whether t may be proposed: nil, ErrTooLarge or ErrInvalid. Every [Log] calls it before it proposes anything.
func (t *Txn) Check() error {
	ops := len(t.Put) + len(t.Del)
	if ops == 0 {
		return fmt.Errorf("%w: it writes nothing", ErrInvalid)
	}
	if ops > MaxTxnOps {
		return fmt.Errorf("%w: %d writes, at most %d", ErrTooLarge, ops, MaxTxnOps)
	}
	if len(t.If) > MaxTxnReads {
		return fmt.Errorf("%w: %d preconditions, at most %d", ErrTooLarge, len(t.If), MaxTxnReads)
	}
	size := 0
	for key := range t.If {
		if err := checkKey(key); err != nil {
			return err
		}
		size += len(key) + opOverhead
	}
	for key, value := range t.Put {
		if err := checkKey(key); err != nil {
			return err
		}
		size += len(key) + len(value) + opOverhead
	}
	for i, key := range t.Del {
		if err := checkKey(key); err != nil {
			return err
		}
		if _, both := t.Put[key]; both || slices.Contains(t.Del[:i], key) {
			return fmt.Errorf("%w: %q is written twice", ErrInvalid, key)
		}
		size += len(key) + opOverhead
	}
	if size > MaxTxnBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, MaxTxnBytes)
	}
	return nil
}

// checkKey refuses keys that some back end would garble: keys are part of JSON documents, and are shown to people.
func checkKey(key string) error {
	if key == "" || len(key) > MaxKeyBytes || !utf8.ValidString(key) {
		return fmt.Errorf("%w: key %.40q: 1 to %d bytes of UTF-8 are allowed", ErrInvalid, key, MaxKeyBytes)
	}
	for _, r := range key {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return fmt.Errorf("%w: key %.40q: control characters are not allowed", ErrInvalid, key)
		}
	}
	return nil
}
