//go:build !linux

package plugin

// Confine says that it can't: the means that hold a plugin are Linux's.
func Confine(args []string) error {
	if _, err := parseConfinement(args); err != nil {
		return err
	}
	return errLinuxOnly
}
