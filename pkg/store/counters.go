package store

// MigrationCounter is the [Counter] that migrations get their ids from.
const MigrationCounter = "migration"

// CounterKey is the key of a [Counter].
func CounterKey(name string) string { return counterKind.key(name) }
