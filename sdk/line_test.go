package sdk_test

import "runtime"

// lineHere returns the line that it is called from.
func lineHere() int {
	_, _, line, _ := runtime.Caller(1)
	return line
}
