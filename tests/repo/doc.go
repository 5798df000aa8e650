// Package repo holds tests on the repository itself: the layering between
// packages, documentation of what is exported, sizes, and what must never be
// written into a file. The linter checks some of it as well; a linter can be
// skipped, a test cannot.
package repo
