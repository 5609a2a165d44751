package store

import "fmt"

// Format is the number of the newest format of the records that this binary knows. It goes up when an older binary would harm
// records of the new one, by dropping a field that matters or by not knowing what a value means. The format that is in force is in
// [Meta]: masters are upgraded one by one, so a leader raises it only once every master knows it. Until then a new binary writes
// nothing that is new; from then on an older one refuses to follow and to lead.
const Format = thisFormat

// kindSince is the format in which a kind of record came, for those that were not there from the start.
var kindSince = map[string]int{}

// FormatError says that the store was written by a newer binary, which this one must neither follow nor lead.
type FormatError struct{ Have, Know int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("store: the records have format %d, this binary knows up to %d: use a newer one", e.Have, e.Know)
}

// TooNewError says that a record was to be written which not all masters know yet. Nothing was written.
type TooNewError struct {
	Kind        string
	Needs, Have int
}

func (e *TooNewError) Error() string {
	return fmt.Sprintf("store: records of the kind %s need format %d, and %d is in force: upgrade all masters first", e.Kind, e.Needs, e.Have)
}

// inForce is the format that everybody who takes part knows. A cluster that is being founded has this binary's.
func (s *State) inForce() int {
	if s.metaRev == 0 {
		return Format
	}
	return s.meta.Format
}

// writable fails with a *TooNewError when records of a kind may not be written yet.
func (s *State) writable(kind string) error {
	if needs := kindSince[kind]; needs > s.inForce() {
		return &TooNewError{kind, needs, s.inForce()}
	}
	return nil
}
