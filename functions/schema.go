package functions

// Schema describes a value: the part of JSON Schema that Go types need. An empty Type is any value.
type Schema struct {
	// Type is object, array, string, integer, number, boolean or empty.
	Type string `json:"type,omitempty"`
	// Format refines Type: "blob" and "audio" (objects that stand for bytes), "bytes" (a string: base64 in JSON, a
	// byte string in CBOR), "date-time" (a string in JSON, a tagged time in CBOR), "duration" (an integer: nanoseconds).
	Format string `json:"format,omitempty"`
	// Title is the name of the Go type, for people. It has no part in comparisons.
	Title      string             `json:"title,omitempty"`
	Properties map[string]*Schema `json:"properties,omitempty"`
	// Required names the properties that must be there, sorted. Properties that are not named in an object are faults
	// unless Additional allows them.
	Required []string `json:"required,omitempty"`
	Items    *Schema  `json:"items,omitempty"`
	// Additional is the schema of all further properties: set for maps.
	Additional *Schema `json:"additionalProperties,omitempty"`
	Nullable   bool    `json:"nullable,omitempty"`
}

// Formats.
const (
	FormatBlob     = "blob"
	FormatAudio    = "audio"
	FormatBytes    = "bytes"
	FormatDateTime = "date-time"
	FormatDuration = "duration"
)

// maxSchemaDepth bounds the nesting of a schema and so of all that walks it.
const maxSchemaDepth = 32

// String returns the type for people: its title if it has one.
func (s *Schema) String() string {
	switch {
	case s == nil:
		return "nothing"
	case s.Title != "":
		return s.Title
	case s.Type == "array":
		return "[]" + s.Items.String()
	case s.Type == "":
		return "any"
	case s.Format != "":
		return s.Format
	}
	return s.Type
}

// TextProperty says how a plain text becomes a value of s: as the value itself, then the name is empty, or as the only
// property of an object. It returns false if neither fits.
func (s *Schema) TextProperty() (name string, ok bool) {
	text := func(s *Schema) bool { return s.Type == "string" && s.Format == "" }
	if text(s) {
		return "", true
	}
	if s.Type != "object" || s.Format != "" || s.Additional != nil || len(s.Properties) != 1 {
		return "", false
	}
	for name, p := range s.Properties {
		return name, text(p)
	}
	return "", false
}
