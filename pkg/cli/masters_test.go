package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestMasters(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "cli.conf")
	write(t, conf, "# comment\n\n masters = \"f1:1, f2\"\n")
	for _, c := range []struct {
		flag, env, file string
		want            []string
	}{
		{"a:1", "b:2", conf, []string{"a:1"}},
		{"", "b:2", conf, []string{"b:2"}},
		{"", "", conf, []string{"f1:1", "f2:7700"}},
		{"a, b:1 ,,a:7700", "", conf, []string{"a:7700", "b:1"}},
		{"[::1]:5,::1,10.0.0.1", "", conf, []string{"[::1]:5", "[::1]:7700", "10.0.0.1:7700"}},
	} {
		got, err := Masters(c.flag, c.env, c.file)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("Masters(%q, %q) = %v, %v; want %v", c.flag, c.env, got, err, c.want)
		}
	}
}

func TestMastersRefuses(t *testing.T) {
	dir := t.TempDir()
	bad, none := filepath.Join(dir, "bad"), filepath.Join(dir, "none")
	write(t, bad, "mastres = a\n")
	for _, c := range []struct{ flag, env, file string }{
		{"", "", none}, {"", "", bad}, {",", "", none}, {"a:x", "", none}, {"a:0", "", none}, {"a:99999", "", none}, {":1", "", none},
		{"http://a:1", "", none}, {"a b", "", none}, {"a:b:c", "", none}, {"", "", dir},
	} {
		got, err := Masters(c.flag, c.env, c.file)
		if err == nil {
			t.Errorf("Masters(%q, %q, %q) = %v, want an error", c.flag, c.env, filepath.Base(c.file), got)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
