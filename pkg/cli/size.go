package cli

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// The units of sizes, as vzctl writes them: powers of 1024.
const (
	Byte uint64 = 1 << (10 * iota)
	KiB
	MiB
	GiB
	TiB
)

// maxSizeDigits bounds the work that a hostile number can cause.
const maxSizeDigits = 40

var units = []struct {
	letter byte
	bytes  uint64
}{{'B', Byte}, {'K', KiB}, {'M', MiB}, {'G', GiB}, {'T', TiB}}

const sizeHint = "use digits and one of B K M G T, such as 512M or 1.5G"

// ParseSize reads a size in bytes: digits, perhaps with a fraction, and one letter of B K M G T in either case. Without a letter the
// number counts plain, which is in bytes for most parameters and in KiB for disk space. The arithmetic is exact; what is left of a byte
// is dropped. Signs, exponents, names of numbers, empty strings and anything beyond 2^63-1 bytes are refused.
func ParseSize(s string, plain uint64) (uint64, error) {
	num, unit := s, plain
	if n := len(s); n > 0 {
		for _, u := range units {
			if s[n-1]|0x20 == u.letter|0x20 {
				num, unit = s[:n-1], u.bytes
			}
		}
	}
	whole, frac, point := strings.Cut(num, ".")
	if !digits(whole) || (point && !digits(frac)) {
		return 0, fmt.Errorf("not a size; %s", sizeHint)
	}
	if len(whole)+len(frac) > maxSizeDigits {
		return 0, fmt.Errorf("too many digits; %s", sizeHint)
	}
	v, _ := new(big.Int).SetString(whole+frac, 10)
	v.Mul(v, new(big.Int).SetUint64(unit))
	v.Quo(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(frac))), nil))
	if !v.IsInt64() {
		return 0, fmt.Errorf("too large; at most %d bytes", uint64(math.MaxInt64))
	}
	return v.Uint64(), nil
}

// digits tells whether s is one or more ASCII digits.
func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// FormatSize writes n exactly, in the largest unit that divides it: ParseSize(FormatSize(n)) is n.
func FormatSize(n uint64) string {
	for i := len(units) - 1; i > 0; i-- {
		if n != 0 && n%units[i].bytes == 0 {
			return strconv.FormatUint(n/units[i].bytes, 10) + string(units[i].letter)
		}
	}
	return strconv.FormatUint(n, 10) + "B"
}

// HumanSize writes n for people, rounded to one decimal.
func HumanSize(n uint64) string {
	for i := len(units) - 1; i > 0; i-- {
		if u := units[i]; n >= u.bytes {
			return strings.TrimSuffix(strconv.FormatFloat(float64(n)/float64(u.bytes), 'f', 1, 64), ".0") + string(u.letter)
		}
	}
	return strconv.FormatUint(n, 10) + "B"
}

// ParsePair reads "barrier:limit" or one value for both, as vzctl takes them, each with one, and returns the limit: a cgroup has no
// barrier. The barrier must not be above the limit.
func ParsePair(s string, one func(string) (uint64, error)) (uint64, error) {
	b, l, two := strings.Cut(s, ":")
	if !two {
		return one(s)
	}
	barrier, err := one(b)
	if err != nil {
		return 0, fmt.Errorf("barrier: %w", err)
	}
	limit, err := one(l)
	if err != nil {
		return 0, fmt.Errorf("limit: %w", err)
	}
	if barrier > limit {
		return 0, fmt.Errorf("the barrier is above the limit; write barrier:limit")
	}
	return limit, nil
}

// ParseCount reads a plain number.
func ParseCount(s string) (uint64, error) {
	if !digits(s) {
		return 0, fmt.Errorf("not a number; use digits only")
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("too large")
	}
	return n, nil
}

// ParseThousandths reads a decimal number with at most three decimals, exactly, and returns a thousand times it.
func ParseThousandths(s string) (uint64, error) {
	whole, frac, point := strings.Cut(s, ".")
	if !digits(whole) || (point && (!digits(frac) || len(frac) > 3)) {
		return 0, fmt.Errorf("not a number with at most three decimals, such as 2 or 0.5")
	}
	return ParseCount(whole + (frac + "000")[:3])
}

// FormatThousandths writes n/1000 exactly.
func FormatThousandths(n uint64) string {
	s := strconv.FormatUint(n/1000, 10)
	if f := n % 1000; f != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%03d", f), "0")
	}
	return s
}

// ParseYesNo reads vzctl's yes or no.
func ParseYesNo(s string) (bool, error) {
	switch s {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, fmt.Errorf("not yes or no")
}
