package main

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestUsage: wrong usage is exit code 2 and one line, and nothing is asked of the cluster.
func TestUsage(t *testing.T) {
	create := []string{"create", "web", "--ostemplate", "debian"}
	with := func(more ...string) []string { return append(append([]string{}, create...), more...) }
	for _, c := range []struct {
		args []string
		word string // part of the line
	}{
		{nil, "which command"}, {[]string{"node"}, "cordon, list"}, {[]string{"template"}, "import"}, {[]string{"job"}, "wait"},
		{[]string{"strat", "101"}, "perhaps start"}, {[]string{"node", "lits"}, "perhaps list"}, {[]string{"bogus"}, "--help"},
		{[]string{"list", "--bogus"}, "unknown flag"}, {[]string{"list", "-x"}, "shorthand"}, {[]string{"list", "-o", "ctid,bogus"}, "ctid,name,node"},
		{[]string{"list", "-s", "-bogus"}, "no column"},
		{[]string{"show"}, "CTID missing"}, {[]string{"show", "1", "2"}, "unexpected"}, {[]string{"show", ""}, "empty"}, {[]string{"status", "x"}, "unexpected"},
		{[]string{"create"}, "missing"}, {[]string{"create", "web"}, "template"}, {[]string{"create", "../x", "--ostemplate", "debian"}, "not a container name"},
		{[]string{"create", "Web", "--ostemplate", "debian"}, "not a container name"}, {[]string{"create", "7", "--ostemplate", "debian"}, "101"},
		{[]string{"create", "0101", "--ostemplate", "debian"}, "leading"}, {[]string{"create", "99999999999999999999", "--ostemplate", "debian"}, "CTID"},
		{[]string{"create", "web", "--ostemplate", "../x"}, "template"}, {with("--on", "../n"), "node"},
		{with("--ram", "1e309"), "not a size"}, {with("--ram", "-1G"), "not a size"}, {with("--ram", "NaN"), "not a size"}, {with("--ram", ""), "not a size"},
		{with("--ram="), "not a size"}, {with("--ram", "9999999999999999T"), "too large"}, {with("--ram", "4096T"), "out of range"}, {with("--ram", "1"), "out of range"},
		{with("--diskspace", "3G:2G"), "barrier"}, {with("--diskspace", "1:2:3"), "not a size"}, {with("--swap", "x"), "not a size"},
		{with("--cpus", "1.2345"), "decimals"}, {with("--cpus", "-1"), "decimals"}, {with("--cpuunits", "500001"), "out of range"}, {with("--cpulimit", "1.5"), "digits"},
		{with("--numproc", "5:4"), "barrier"}, {with("--numproc", "3"), "out of range"}, {with("--ipadd", "10.0.0.5"), "prefix length"},
		{with("--ipadd", "10.0.0.5/33"), "prefix length"}, {with("--ipadd", "10.0.0.5/24", "--ipadd", "10.0.0.5/16"), "twice"}, {with("--ipdel", "all"), "unknown flag"},
		{with("--gateway", "x"), "not an address"}, {with("--nameserver", "x"), "not an address"}, {with("--onboot", "true"), "yes or no"},
		{with("--hostname", "a_b"), "host name"}, {with("--hostname", ""), "empty"}, {with("--init", "sbin/init"), "absolute"}, {with("--init", " "), "empty"},
		{with("--bridge", "a/b"), "interface"}, {with("--op-key", "a b"), "operation key"}, {with("--wait", "-1s"), "duration"}, {with("--timeout", "0"), "duration"},
		{with("--timeout", "1e9"), "duration"}, {with("--ram"), "needs an argument"},
		{[]string{"set", "101"}, "no parameter"}, {[]string{"set", "101", "--privileged"}, "unknown flag"}, {[]string{"set", "101", "--ipdel", "x"}, "not an address"},
		{[]string{"stop", "101", "--stop-timeout", "x"}, "duration"},
		{[]string{"exec", "101"}, "--"}, {[]string{"exec", "101", "ls"}, "put --"}, {[]string{"exec", "101", "--"}, "COMMAND missing"}, {[]string{"exec", "--", "ls"}, "CTID missing"},
		{[]string{"exec"}, "CTID missing"}, {[]string{"exec", "101", "x", "--", "ls"}, "put --"}, {[]string{"exec", "-t", "-j", "101", "--", "ls"}, "together"},
		{[]string{"enter", "-j", "101"}, "JSON"}, {[]string{"migrate", "101"}, "to"}, {[]string{"migrate", "101,,102", "--to", "n2"}, "empty CTID"},
		{[]string{"migrate", "101", "--to", "n2", "--mode", "postcopy"}, "stopcopy"}, {[]string{"migrate", "101", "--to", "n2", "--bwlimit", "fast"}, "not a size"},
		{[]string{"history", "1", "2"}, "unexpected"}, {[]string{"migrations", "1", "2"}, "unexpected"}, {[]string{"job", "show"}, "KEY missing"},
		{[]string{"job", "show", "a b"}, "operation key"}, {[]string{"template", "import", "../x", "f"}, "template"},
		{[]string{"template", "import", "x", "/does/not/exist"}, "no such file"}, {[]string{"template", "import", "x", "/"}, "regular"},
		{[]string{"console", "101", "--tail", "-1"}, "not a size"}, {[]string{"status", "--masters", "a:b:c"}, "HOST:PORT"},
	} {
		f := newFake(t)
		r := f.run(t, c.args...)
		r.fails(t, 2, "USAGE", c.word)
		if r.out != "" && !slices.Contains(c.args, "-j") {
			t.Errorf("%v: stdout %q", c.args, r.out)
		}
		if len(f.requests) > 0 {
			t.Errorf("%v: the cluster was asked: %v", c.args, f.requests)
		}
		if t.Failed() {
			t.Fatalf("arguments: %q", c.args)
		}
	}
}

// TestUsageJSON: with -j wrong usage is a document, too, wherever the flag stands.
func TestUsageJSON(t *testing.T) {
	for _, args := range [][]string{
		{"-j", "bogus"}, {"bogus", "-j"}, {"list", "--bogus", "-j"}, {"list", "-aj", "--bogus"}, {"--json", "create", "web", "--ram", "1e309"}, {"node", "-j"},
		{"migrate", "101", "-j"},
	} {
		r := newFake(t).run(t, args...)
		r.fails(t, 2, "USAGE")
		if d := r.doc(t); d["code"] != "USAGE" || d["retryable"] != false || !strings.Contains(r.err, d["message"].(string)) {
			t.Errorf("%v: %v", args, d)
		}
	}
	if r := newFake(t).run(t, "exec", "101", "-bogus", "--", "x", "-j"); r.out != "" {
		t.Errorf("the command's own -j was taken for ours: %q", r.out)
	}
}

func TestNoMasters(t *testing.T) {
	r := runApp(t, t.Context(), nil, "status")
	r.fails(t, 2, "USAGE", "--masters", "VZ_MASTERS", "masters = ")
}

// TestErrors: each kind of refusal has its exit code, its line and its document.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		code codes.Code
		exit int
		name string
	}{
		{codes.Internal, 1, "INTERNAL"}, {codes.InvalidArgument, 2, "USAGE"}, {codes.NotFound, 3, "NOT_FOUND"}, {codes.FailedPrecondition, 4, "CONFLICT"},
		{codes.AlreadyExists, 4, "CONFLICT"}, {codes.Aborted, 4, "CONFLICT"}, {codes.Unavailable, 5, "UNREACHABLE"}, {codes.PermissionDenied, 6, "DENIED"},
		{codes.Unauthenticated, 6, "DENIED"}, {codes.DeadlineExceeded, 7, "UNKNOWN_OUTCOME"}, {codes.Unknown, 7, "UNKNOWN_OUTCOME"},
	} {
		f := newFake(t).says("StartContainer", nil, status.Error(c.code, "first line\nsecond\x1b[2J line"))
		window := "1m"
		if c.exit == 5 || c.exit == 7 {
			window = "2s" // it is asked again until then
		}
		r := f.run(t, "start", "101", "-j", "--timeout", window)
		r.fails(t, c.exit, c.name, "first line; second?[2J line")
		d := r.doc(t)
		if d["code"] != c.name || d["op"] == "" || d["op"] == nil || strings.ContainsAny(d["message"].(string), "\n\x1b") {
			t.Errorf("%v: %v", c.code, d)
		}
		if window == "1m" {
			if plain := f.run(t, "start", "101"); plain.out != "" {
				t.Errorf("%v: without -j something is on stdout: %q", c.code, plain.out)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	r := newFake(t).run(t, "--help").ok(t)
	for _, w := range []string{"  0 ", "  5  UNREACHABLE", "  7  UNKNOWN_OUTCOME", "  8  PARTIAL", "migrate", "error: CODE: text"} {
		if !strings.Contains(r.out, w) {
			t.Errorf("--help lacks %q", w)
		}
	}
	newFake(t).run(t, "create", "--help").ok(t)
	newFake(t).run(t, "--version").ok(t)
}
