// Package sentence cuts a text into sentences while it is made, each as soon as no text to come can change it, so that
// speaking can begin before the text has ended.
//
// A [Splitter] takes the pieces of one text and gives its sentences. An abbreviation, an initial, a decimal number, the
// number of an item of a list, or a quotation within a sentence does not end it; white space after a stop, a blank line,
// and a new line that begins with something new do.
//
// Caveats:
//   - The abbreviations are those of English. Stops are those of many scripts; those of Chinese and Japanese need no
//     white space.
//   - In doubt a sentence goes on: two that are spoken as one sound better than one that is spoken as two.
//   - Runs of white space become one space. Nothing else is changed or left out.
//   - The package is linked into WASM guests: it uses the standard library only.
package sentence
