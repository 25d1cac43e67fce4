// Package queue decides who is next among the calls that wait for one model, who can't finish in time, and who gives way
// when the queue is full. It is pure: it reads no clock, starts nothing and knows no model.
//
// An [Entry] is a call that waits. [Shares] keeps book of the device time that each caller has used lately, and [Costs] of
// what a call takes. [Order] says who is served when, [Late] who is refused, [Yields] who gives way.
//
// The entries of one caller and one priority are a line: first come first served. The first of each line compete, and the
// least score wins:
//
//	score = device time that the caller has used lately while others were there, and will use for the calls under way
//	      + classStep for each class that the line is below the most urgent one
//	      - the time since the first of the line came, or the line was last served, divided by ageing
//
// So callers who all have much to ask get equal device time, whatever each of their calls takes; a class is worth a
// fixed time that others have used more; and since the last term grows without end, nobody starves: nobody who comes
// later than the first of a line, by more than ageing times its other two terms, is served before it.
package queue
