// Package arch keeps the house in order: its tests check which package may import which, who owns each outside library,
// what a guest links, and that every package says what it is.
package arch
