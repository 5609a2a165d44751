//go:build formatnext

package store

// thisFormat of a binary that is one release ahead: for tests of rolling upgrades.
const thisFormat = 2
