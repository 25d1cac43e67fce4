package openai

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// Bounds of what a server may send for one answer. A token takes some 300 bytes.
const (
	maxEvent  = 1 << 20
	maxAnswer = 64 << 20
)

// events reads the data of Server-Sent Events, as https://html.spec.whatwg.org/multipage/server-sent-events.html has it.
// Names, ids and comments are skipped.
type events struct {
	r     *bufio.Reader
	total int    // bytes read
	cr    bool   // the last line ended with a carriage return: a line feed right after it belongs to that
	line  []byte // the buffer of the last line
	data  []byte // the buffer of the last event
}

func newEvents(r io.Reader) *events { return &events{r: bufio.NewReader(r)} }

// next returns the data of the next event that has some. It is good until the next call. At the end of the stream it
// returns io.EOF, and drops an event that has not ended.
func (e *events) next() ([]byte, error) {
	e.data = e.data[:0]
	found := false
	for {
		line, err := e.readLine()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			if found {
				return e.data, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		if string(field) != "data" {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if found {
			e.data = append(e.data, '\n')
		}
		if len(e.data)+len(value) > maxEvent {
			return nil, fmt.Errorf("an event of more than %d bytes", maxEvent)
		}
		e.data, found = append(e.data, value...), true
	}
}

// readLine returns the next line without its end, which is a line feed, a carriage return, or both.
func (e *events) readLine() ([]byte, error) {
	e.line = e.line[:0]
	for {
		b, err := e.r.ReadByte()
		if err != nil {
			return nil, err // a line that has not ended is none
		}
		if e.total++; e.total > maxAnswer {
			return nil, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
		}
		after := e.cr
		e.cr = b == '\r'
		switch {
		case b == '\n' && after:
		case b == '\n' || b == '\r':
			if e.total == len(e.line)+1 { // the first line of all
				return bytes.TrimPrefix(e.line, []byte("\uFEFF")), nil
			}
			return e.line, nil
		case len(e.line) == maxEvent:
			return nil, fmt.Errorf("a line of more than %d bytes", maxEvent)
		default:
			e.line = append(e.line, b)
		}
	}
}
