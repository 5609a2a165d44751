package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// quarantineFile in the data directory keeps the member from starting; what is in it says why.
const quarantineFile = "quarantine"

// QuarantinedError says that the state of this member differs from that of the others, which have the same log.
type QuarantinedError struct{ Dir, Why string }

func (e *QuarantinedError) Error() string {
	return fmt.Sprintf("%s: this master is in quarantine: %s; it must neither serve nor lead: have it start afresh from the others with `vzmaster resync`", e.Dir, e.Why)
}

// Quarantine ends Run and keeps this member from starting again on its directory.
func (l *Log) Quarantine(why string) {
	err := error(&QuarantinedError{l.conf.DataDir, why})
	l.die(errors.Join(err, l.dog.do("writing the quarantine file", func() error {
		return writeID(filepath.Join(l.conf.DataDir, quarantineFile), why)
	})))
}

// checkQuarantine fails with a *QuarantinedError if dir is in quarantine.
func checkQuarantine(dir string) error {
	why, err := os.ReadFile(filepath.Join(dir, quarantineFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return &QuarantinedError{dir, string(why[:max(0, len(why)-1)])}
}
