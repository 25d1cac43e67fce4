package value

import (
	"unicode/utf8"

	"github.com/catenary-run/catenary/functions"
)

const (
	// maxQuickDepth and maxQuickKeys bound what fits looks at; beyond them the decoder does.
	maxQuickDepth = 8
	maxQuickKeys  = 16
)

// The major types of CBOR that fits knows.
const (
	cborUint   = 0
	cborNegint = 1
	cborBytes  = 2
	cborText   = 3
	cborArray  = 4
	cborMap    = 5
	cborSimple = 7
)

// fits reports whether cborValue surely fits s and holds no blobs. It allocates nothing and knows what [Encode] writes of
// common types: where it says no, the decoder has to look.
func fits(s *functions.Schema, cborValue []byte) bool {
	rest, ok := skim(s, cborValue, 0)
	return ok && len(rest) == 0
}

// skim checks the first data item of b against s and returns what follows it.
func skim(s *functions.Schema, b []byte, depth int) (rest []byte, ok bool) {
	if s == nil || s.Type == "" || depth == maxQuickDepth {
		return nil, false
	}
	if s.Type == "number" {
		return skimNumber(b)
	}
	major, n, rest, ok := head(b)
	if !ok {
		return nil, false
	}
	if major == cborSimple {
		return rest, s.Type == "boolean" && (n == 20 || n == 21)
	}
	switch {
	case s.Type == "integer" && s.Format == "" && (major == cborUint || major == cborNegint):
		return rest, n <= 1<<62
	case s.Format == functions.FormatBytes && major == cborBytes, s.Type == "string" && s.Format == "" && major == cborText:
		if n > uint64(len(rest)) {
			return nil, false
		}
		return rest[n:], major == cborBytes || utf8.Valid(rest[:n])
	case s.Type == "array" && s.Format == "" && major == cborArray && n <= min(maxElements, uint64(len(rest))):
		for range n {
			if rest, ok = skim(s.Items, rest, depth+1); !ok {
				return nil, false
			}
		}
		return rest, true
	case s.Type == "object" && s.Format == "" && major == cborMap && n <= maxQuickKeys:
		return skimObject(s, rest, int(n), depth)
	}
	return nil, false
}

// skimNumber checks a number: an integer, or a float that JSON has.
func skimNumber(b []byte) (rest []byte, ok bool) {
	size, exponent := 0, uint64(0)
	switch {
	case len(b) == 0:
		return nil, false
	case b[0] == 0xf9:
		size, exponent = 2, 0x7c00
	case b[0] == 0xfa:
		size, exponent = 4, 0x7f800000
	case b[0] == 0xfb:
		size, exponent = 8, 0x7ff0000000000000
	default:
		major, _, rest, ok := head(b)
		return rest, ok && (major == cborUint || major == cborNegint)
	}
	if len(b) < 1+size {
		return nil, false
	}
	var bits uint64
	for _, c := range b[1 : 1+size] {
		bits = bits<<8 | uint64(c)
	}
	return b[1+size:], bits&exponent != exponent // else it is infinite, or no number
}

// skimObject checks n properties.
func skimObject(s *functions.Schema, b []byte, n, depth int) (rest []byte, ok bool) {
	var seen [maxQuickKeys][]byte
	required := 0
	for i := range n {
		major, size, after, ok := head(b)
		if !ok || major != cborText || size > uint64(len(after)) {
			return nil, false
		}
		key := after[:size]
		p := s.Properties[string(key)]
		if p == nil {
			p = s.Additional
		}
		if p == nil || !utf8.Valid(key) {
			return nil, false
		}
		for _, other := range seen[:i] {
			if string(other) == string(key) {
				return nil, false
			}
		}
		seen[i] = key
		for _, name := range s.Required {
			if name == string(key) {
				required++
			}
		}
		if b, ok = skim(p, after[size:], depth+1); !ok {
			return nil, false
		}
	}
	return b, required == len(s.Required)
}

// head reads the head of a data item: its major type and its argument, in its shortest form.
func head(b []byte) (major byte, n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, 0, nil, false
	}
	major, info := b[0]>>5, b[0]&31
	b = b[1:]
	switch {
	case info < 24:
		return major, uint64(info), b, true
	case info > 27 || len(b) < 1<<(info-24) || major == cborSimple:
		return 0, 0, nil, false
	}
	size := 1 << (info - 24)
	for _, c := range b[:size] {
		n = n<<8 | uint64(c)
	}
	return major, n, b[size:], true
}
