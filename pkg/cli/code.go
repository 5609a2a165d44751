package cli

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Code is the kind of an error, as printed after "error:" and in the "code" of a JSON error document.
type Code string

// The codes. Each belongs to one exit code.
const (
	Internal       Code = "INTERNAL"
	Usage          Code = "USAGE"
	NotFound       Code = "NOT_FOUND"
	Conflict       Code = "CONFLICT"
	Unreachable    Code = "UNREACHABLE"
	Denied         Code = "DENIED"
	UnknownOutcome Code = "UNKNOWN_OUTCOME"
	Partial        Code = "PARTIAL"
	Interrupted    Code = "INTERRUPTED"
)

// ExitCode documents one exit code.
type ExitCode struct {
	Exit int
	Code Code // empty for success
	Text string
}

// ExitCodes is the one table of exit codes: the help, the reference and the program itself use it.
func ExitCodes() []ExitCode {
	return []ExitCode{
		{0, "", "done"},
		{1, Internal, "internal error, or the work was accepted and then failed: the text says which"},
		{2, Usage, "wrong usage or an invalid value: nothing was changed"},
		{3, NotFound, "no such container, node, template, migration or operation"},
		{4, Conflict, "conflict or unmet precondition: nothing was changed (an aborted migration: the container runs on where it was)"},
		{5, Unreachable, "no master can be reached, or the masters have no quorum"},
		{6, Denied, "not allowed"},
		{7, UnknownOutcome, "the outcome is not known: the text has the operation's key; see 'job show KEY', 'job wait KEY'"},
		{8, Partial, "partly done: the text says what was and what was not"},
		{130, Interrupted, "interrupted before anything was asked of the cluster"},
	}
}

// Exit returns the exit code that belongs to c.
func (c Code) Exit() int {
	for _, e := range ExitCodes() {
		if e.Code == c {
			return e.Exit
		}
	}
	return 1
}

// Error is what a command ends with when it is not done.
type Error struct {
	Code      Code
	Message   string
	Op        string // the operation's key, if a mutation was or may have been sent
	Retryable bool   // the same command may well succeed later
	Details   any    // more for the JSON document
}

func (e *Error) Error() string { return Line(e.Message) }

// Errorf makes an Error.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...), Retryable: c == Unreachable}
}

// AsError returns err as an Error; one that is of no known kind is INTERNAL.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Internal, Message: err.Error()}
}

// Line makes one line of s that is safe to print: what comes from the cluster may hold line ends and terminal escapes.
func Line(s string) string {
	s = strings.NewReplacer("\r\n", "; ", "\n", "; ").Replace(strings.TrimSpace(s))
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
