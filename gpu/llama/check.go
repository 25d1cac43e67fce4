package llama

// Check reports whether dir holds the one release of libllama that fits, by the names of its files: it loads nothing.
// It returns an error wrapping [functions.ErrNoDevice] that says what to do if not.
func Check(dir string) error {
	_, err := findLibraries(dir)
	return err
}
