package openai

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxKey bounds a key's length in bytes.
const maxKey = 4 << 10

// Key tells where a key is: in a variable of the environment, or in a file. At most one is set.
type Key struct {
	Env  string
	File string
}

// read returns the key as it is now, or nothing if the server has none. Its errors say where the key should be.
func (k Key) read() (string, error) {
	var text string
	switch {
	case k.Env != "":
		text = os.Getenv(k.Env)
	case k.File != "":
		f, err := os.Open(k.File)
		if err != nil {
			return "", fmt.Errorf("its key: %w", err)
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxKey+1))
		if err != nil {
			return "", fmt.Errorf("its key: %w", err)
		}
		text = string(data)
	default:
		return "", nil
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", fmt.Errorf("its key should be in %s, and there is none", k)
	case len(text) > maxKey || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("its key should be in %s, and what is there is no key: one line of printable ASCII without spaces", k)
	}
	return text, nil
}

// Redact takes the key out of a text: some servers repeat it.
func (k Key) Redact(text string) string {
	if key, err := k.read(); err == nil && key != "" {
		return strings.ReplaceAll(text, key, "[key]")
	}
	return text
}

func (k Key) String() string {
	if k.Env != "" {
		return "the environment variable " + k.Env
	}
	return "the file " + k.File
}

// remedy says what to do about a key that the server at url does not take.
func (k Key) remedy(url string) string {
	if k == (Key{}) {
		return fmt.Sprintf("give %s a key_env or a key_file in the file of catenary serve --endpoints", url)
	}
	return "put the right one into " + k.String()
}

// Validate returns what is wrong with where the key is.
func (k Key) Validate() error {
	if k.Env != "" && k.File != "" {
		return errors.New("a key is in a variable of the environment or in a file, not in both")
	}
	return nil
}
