package cli

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in    string
		plain uint64
		want  uint64
	}{
		{"0", Byte, 0}, {"512M", Byte, 512 << 20}, {"512m", Byte, 512 << 20}, {"1G", Byte, 1 << 30}, {"2T", Byte, 2 << 40},
		{"7B", KiB, 7}, {"7", KiB, 7 << 10}, {"7", Byte, 7}, {"1.5G", Byte, 3 << 29}, {"2.2G", Byte, 2362232012}, {"0.1B", Byte, 0},
		{"007K", Byte, 7 << 10}, {"9223372036854775807", Byte, math.MaxInt64}, {"8388607T", Byte, 8388607 << 40},
	} {
		if got, err := ParseSize(c.in, c.plain); err != nil || got != c.want {
			t.Errorf("ParseSize(%q, %d) = %d, %v; want %d", c.in, c.plain, got, err, c.want)
		}
	}
	for _, in := range []string{
		"", " ", "1e309", "1e3", "-1", "+1", "-1M", "NaN", "nan", "Inf", "infinity", "0x10", "1_000", "M", ".", ".5G", "5.G", "1.2.3", "1 G", "1GB", "1GiB",
		"unlimited", "9223372036854775808", "8388608T", "18446744073709551616", "99999999999999999999999T", strings.Repeat("9", 5000), "٣", "1P", "\x00",
	} {
		if got, err := ParseSize(in, Byte); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		} else if strings.Contains(err.Error(), "\n") || len(err.Error()) > 120 {
			t.Errorf("ParseSize(%.20q): error is not one short line: %q", in, err)
		}
	}
}

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// whole units are what operators write, so make them common
		n := rapid.Uint64Max(math.MaxInt64).Draw(t, "n") >> rapid.IntRange(0, 62).Draw(t, "shift")
		n = n >> rapid.SampledFrom([]int{0, 10, 20, 30}).Draw(t, "down") << rapid.SampledFrom([]int{0, 10, 20, 30}).Draw(t, "up") & math.MaxInt64
		got, err := ParseSize(FormatSize(n), rapid.SampledFrom([]uint64{Byte, KiB}).Draw(t, "plain"))
		if err != nil || got != n {
			t.Fatalf("%d -> %q -> %d, %v", n, FormatSize(n), got, err)
		}
	})
}

func TestParseSizeNeverPanicsOrExceeds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9]{0,25}\.?[0-9]{0,5}[bkmgtBKMGTp]?`)).Draw(t, "s")
		if n, err := ParseSize(s, Byte); err == nil && n > math.MaxInt64 {
			t.Fatalf("ParseSize(%q) = %d", s, n)
		}
	})
}

func TestParsePair(t *testing.T) {
	one := func(s string) (uint64, error) { return ParseSize(s, KiB) }
	for in, want := range map[string]uint64{"2G": 2 << 30, "2G:3G": 3 << 30, "2G:2G": 2 << 30, "1:2": 2 << 10} {
		if got, err := ParsePair(in, one); err != nil || got != want {
			t.Errorf("ParsePair(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", ":", "1G:", ":1G", "3G:2G", "1:2:3", "x:1G"} {
		if got, err := ParsePair(in, one); err == nil {
			t.Errorf("ParsePair(%q) = %d, want an error", in, got)
		}
	}
}

func TestThousandths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Max(1<<60).Draw(t, "n")
		if got, err := ParseThousandths(FormatThousandths(n)); err != nil || got != n {
			t.Fatalf("%d -> %q -> %d, %v", n, FormatThousandths(n), got, err)
		}
	})
	for _, in := range []string{"", "-1", "1.2345", "1.", ".5", "1e3", "NaN", "9223372036854775808"} {
		if got, err := ParseThousandths(in); err == nil {
			t.Errorf("ParseThousandths(%q) = %d, want an error", in, got)
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0B", 1023: "1023B", 1024: "1K", 1536: "1.5K", 5 << 30: "5G", 1<<63 - 1: "8388608T"} {
		if got := HumanSize(n); got != want {
			t.Errorf("HumanSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestYesNo(t *testing.T) {
	if v, err := ParseYesNo("yes"); !v || err != nil {
		t.Errorf("yes: %v, %v", v, err)
	}
	if v, err := ParseYesNo("no"); v || err != nil {
		t.Errorf("no: %v, %v", v, err)
	}
	if _, err := ParseYesNo("true"); err == nil {
		t.Error("true was accepted")
	}
}
