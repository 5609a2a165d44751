package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// DefaultPort is the port of a master's API, taken if an address has none.
const DefaultPort = "7700"

// Masters finds out where the masters are: the flag's value if not empty, else the environment variable's, else "masters = a,b,c" of
// the file. The answer is a list of host:port.
func Masters(flag, env, file string) ([]string, error) {
	list, from := flag, "--masters"
	if list == "" {
		list, from = env, "VZ_MASTERS"
	}
	if list == "" {
		v, err := readMasters(file)
		if err != nil {
			return nil, err
		}
		list, from = v, file
	}
	if list == "" {
		return nil, Errorf(Usage, "no masters known; give --masters HOST:PORT,..., set VZ_MASTERS, or write 'masters = HOST:PORT,...' into %s", file)
	}
	var out []string
	for a := range strings.SplitSeq(list, ",") {
		a = strings.TrimSpace(a)
		if a == "" {
			continue
		}
		addr, err := masterAddr(a)
		if err != nil {
			return nil, Errorf(Usage, "%s: %q is not HOST:PORT", from, a)
		}
		if !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	if len(out) == 0 {
		return nil, Errorf(Usage, "%s: the list of masters is empty", from)
	}
	return out, nil
}

// masterAddr fills in the port and checks the form. A socket on this machine (unix:///path) stays as it is.
func masterAddr(a string) (string, error) {
	if strings.HasPrefix(a, "unix:///") {
		return a, nil
	}
	if strings.ContainsAny(a, " \t/") {
		return "", errors.New("not an address")
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		host, port = strings.Trim(a, "[]"), DefaultPort
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", err
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return "", errors.New("not an address")
	}
	return net.JoinHostPort(host, port), nil
}

// readMasters reads the value of "masters" from a file of "key = value" lines. A file that does not exist has none.
func readMasters(file string) (string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", Errorf(Usage, "read configuration: %v", err)
	}
	defer f.Close()
	var masters string
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); !ok || key != "masters" {
			return "", Errorf(Usage, "%s, line %d: not 'masters = HOST:PORT,...'", file, n)
		}
		masters = strings.Trim(strings.TrimSpace(value), `"`)
	}
	if err := sc.Err(); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return masters, nil
}
