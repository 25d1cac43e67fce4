package wasm

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sandbox/wasm/scratch"
)

const (
	// maxArgBytes bounds the arguments of one call; what is larger belongs into a file.
	maxArgBytes = 1 << 20
	// inputPrefix begins the names of the files that the host places. A dot keeps them out of a command's globs.
	inputPrefix = ".in-"
)

// whole names the whole input in a template, for inputs that have no fields.
const whole = "it"

// part is a piece of an argument: text, or what stands for a field of the input or for the output file.
type part struct {
	text   string
	field  string // "" for text
	asFile bool
	out    bool
}

// command is a WASI command's manifest, read: how its input becomes arguments and files, and where its output lies.
type command struct {
	m    *functions.Manifest
	args [][]part
	out  string // the output file, below the scratch folder; "" for standard output
}

// parseCommand reads the arguments of a manifest. Its error wraps functions.ErrInvalid and names the argument.
func parseCommand(m *functions.Manifest) (*command, error) {
	cmd := &command{m: m}
	if m.Output == nil {
		return nil, fmt.Errorf("%w: function %s: a wasi command needs out", functions.ErrInvalid, m.Name)
	}
	if m.Output.File != "" {
		if !fs.ValidPath(m.Output.File) || m.Output.File == "." || len(m.Output.File) > 255 {
			return nil, fmt.Errorf("%w: function %s: out.file %q is not a path below the scratch folder, such as out.wav", functions.ErrInvalid, m.Name, m.Output.File)
		}
		cmd.out = m.Output.File
	}
	for i, arg := range m.Args {
		parts, err := cmd.parseArg(arg)
		if err != nil {
			return nil, fmt.Errorf("%w: function %s: argument %d, %q: %w", functions.ErrInvalid, m.Name, i, arg, err)
		}
		cmd.args = append(cmd.args, parts)
	}
	return cmd, nil
}

// parseArg reads one argument.
func (cmd *command) parseArg(arg string) ([]part, error) {
	pieces, err := functions.ArgParts(arg)
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, piece := range pieces {
		p := part{text: piece.Text}
		if piece.Named {
			if p, err = cmd.parseField(piece); err != nil {
				return nil, err
			}
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// parseField checks that the input has what stands between braces.
func (cmd *command) parseField(piece functions.ArgPart) (part, error) {
	name := piece.Field
	p := part{field: name, asFile: piece.How == "file"}
	if piece.How != "" && !p.asFile {
		return p, fmt.Errorf("%s: after the bar only file is known", piece)
	}
	schema := cmd.m.In.Schema
	switch field := schema.Properties[name]; {
	case field != nil && schema.Format == "":
		schema = field
	case name == "out":
		if cmd.out == "" || p.asFile {
			return p, errors.New("{out} stands for the output file: set out.file")
		}
		p.out = true
		return p, nil
	case name != whole:
		return p, fmt.Errorf("%s: the input has no such field", piece)
	}
	isBytes := schema.Format == functions.FormatBytes || schema.Format == functions.FormatBlob || schema.Format == functions.FormatAudio
	isText := !isBytes && (schema.Type == "string" || schema.Type == "integer" || schema.Type == "number" || schema.Type == "boolean")
	switch {
	case isBytes && !p.asFile:
		return p, fmt.Errorf("%s: bytes can't be an argument: write {%s|file}", piece, name)
	case !isBytes && !isText:
		return p, fmt.Errorf("%s: %s is neither text nor bytes", piece, schema)
	}
	return p, nil
}

// bind makes the arguments of one call from its input v, and places the files that they name in dir.
func (cmd *command) bind(v []byte, blobs map[functions.Digest]functions.Attachment, dir *scratch.FS) ([]string, error) {
	in, err := value.Any(cmd.m.In.Schema, v)
	if err != nil {
		return nil, fmt.Errorf("the input of function %s: %w", cmd.m.Name, err)
	}
	placed := map[string]string{} // path by field
	var args []string
	size := 0
	for i, parts := range cmd.args {
		var arg strings.Builder
		for _, p := range parts {
			text, err := cmd.text(p, in, blobs, dir, placed)
			if err != nil {
				return nil, fmt.Errorf("%w: function %s, argument %d: %w", functions.ErrInvalid, cmd.m.Name, i, err)
			}
			arg.WriteString(text)
		}
		if strings.ContainsRune(arg.String(), 0) {
			return nil, fmt.Errorf("%w: function %s, argument %d: a zero byte can't be in an argument", functions.ErrInvalid, cmd.m.Name, i)
		}
		if size += arg.Len() + 1; size > maxArgBytes {
			return nil, fmt.Errorf("%w: function %s: its arguments have more than %d bytes: pass the field as {field|file}", functions.ErrInvalid, cmd.m.Name, maxArgBytes)
		}
		args = append(args, arg.String())
	}
	return args, nil
}

// text returns what a part stands for.
func (cmd *command) text(p part, in any, blobs map[functions.Digest]functions.Attachment, dir *scratch.FS, placed map[string]string) (string, error) {
	switch {
	case p.field == "":
		return p.text, nil
	case p.out:
		return path.Join(scratchFolder, cmd.out), nil
	}
	v, isField := in, false
	if cmd.m.In.Schema.Properties[p.field] != nil && cmd.m.In.Schema.Format == "" {
		fields, _ := in.(map[string]any)
		v, isField = fields[p.field]
		if !isField {
			v = nil
		}
	}
	if v == nil {
		return "", fmt.Errorf("the input has no value for {%s}", p.field)
	}
	if !p.asFile {
		return plain(v)
	}
	if name, done := placed[p.field]; done {
		return name, nil
	}
	data, err := content(v, blobs)
	if err != nil {
		return "", fmt.Errorf("{%s|file}: %w", p.field, err)
	}
	file := inputPrefix + strconv.Itoa(len(placed))
	dir.Place(file, data)
	placed[p.field] = path.Join(scratchFolder, file)
	return placed[p.field], nil
}

// plain returns a value as text.
func plain(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case time.Duration:
		return v.String(), nil
	}
	return "", fmt.Errorf("a value of type %T is no text", v)
}

// content returns a value's bytes, those of a blob from the attachments.
func content(v any, blobs map[functions.Digest]functions.Attachment) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case map[string]any:
		digest, _ := v["blob"].(string)
		att, ok := blobs[functions.Digest(digest)]
		if !ok {
			return nil, fmt.Errorf("blob %s does not travel with the input", digest)
		}
		return att.Data, nil
	}
	text, err := plain(v)
	return []byte(text), err
}

// result turns what a command left into its output: the value and the blobs that belong to it.
func (cmd *command) result(left []byte) (v []byte, blobs []functions.Attachment, err error) {
	schema := cmd.m.Out.Schema
	mediaType := cmd.m.Output.Type
	switch {
	case schema.Format == functions.FormatAudio:
		info, err := wav.Parse(left)
		if err != nil {
			return nil, nil, notInvalid(err)
		}
		att := functions.Attach(wav.MediaType, left)
		v, err = value.Encode(functions.Audio{Blob: att.Blob, SampleHz: info.SampleHz, Channels: info.Channels, Dur: info.Dur})
		return v, []functions.Attachment{att}, err
	case schema.Format == functions.FormatBlob:
		if mediaType == "" {
			mediaType = "application/octet-stream"
		}
		att := functions.Attach(mediaType, left)
		v, err = value.Encode(att.Blob)
		return v, []functions.Attachment{att}, err
	case schema.Format == functions.FormatBytes:
		v, err = value.Encode(left)
		return v, nil, err
	case schema.Type == "string" && schema.Format == "" && mediaType != "application/json":
		if !utf8.Valid(left) {
			return nil, nil, errors.New("it is not UTF-8 text")
		}
		v, err = value.Encode(string(left))
		return v, nil, err
	}
	if v, blobs, err = value.FromJSON(schema, left, nil); err != nil {
		return nil, nil, notInvalid(err)
	}
	return v, blobs, nil
}

// output finds what the command left.
func (cmd *command) output(dir *scratch.FS, stdout []byte) ([]byte, error) {
	if cmd.out == "" {
		return stdout, nil
	}
	node, err := dir.Root().Find(cmd.out)
	if err != nil {
		return nil, fmt.Errorf("it left no file %s: %w", cmd.out, err)
	}
	if node.IsFolder() {
		return nil, fmt.Errorf("%s is a folder", cmd.out)
	}
	return node.Bytes(), nil
}
