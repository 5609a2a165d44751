//go:build !formatnext

package store

const thisFormat = 1
