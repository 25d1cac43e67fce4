// Package storetest holds every store to one behaviour: what functions.Catalogue and functions.Blobs say.
//
// [Run] takes a func that makes a fresh, empty [Backend]; each test opens one or two [Store] values on it, as two
// processes would.
package storetest
