package value

import (
	"fmt"
	"slices"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
)

var bytesSchema = &functions.Schema{Type: "string", Format: functions.FormatBytes}

// blobRef is an object of JSON that refers to a blob.
type blobRef struct {
	object map[string]any
	audio  bool
	at     *path
}

// blob takes an object that should be a blob of s, and returns what refers to it in CBOR.
func (r *reader) blob(s *functions.Schema, v map[string]any, at *path) (any, error) {
	ref := blobRef{object: v, audio: s.Format == functions.FormatAudio || v["sample_hz"] != nil, at: at}
	data, given := v["data"]
	if !given {
		// Before all else: of what a wrong digest refers to nothing more is known, so properties would be missing.
		if err := checkDigest(v, at); err != nil {
			return nil, err
		}
		if r.keepsRefs {
			r.refs = append(r.refs, ref)
		}
		return v, nil
	}
	for _, name := range sortedKeys(v) {
		if name != "data" && name != "type" {
			return nil, at.property(name).fault("has no place beside data")
		}
	}
	b, ok := data.([]byte)
	if !ok {
		return nil, at.property("data").fault("got %s, want base64", nameOf(data))
	}
	if mediaType, _ := v["type"].(string); mediaType == "" && !ref.audio {
		return nil, at.property("type").fault("has to say the media type of the data")
	}
	delete(v, "data")
	digest := functions.DigestOf(b)
	v["blob"] = string(digest)
	return v, r.attach(ref, digest, b, at.property("data"))
}

// checkDigest returns an error if v refers to a blob by what is no digest.
func checkDigest(v map[string]any, at *path) error {
	given, there := v["blob"]
	if !there {
		return nil // conform says that it is missing
	}
	text, ok := given.(string)
	if !ok {
		return at.property("blob").fault("got %s, want sha256: and 64 lower-case hex digits", nameOf(given))
	}
	if d, err := functions.ParseDigest(text); err != nil || string(d) != text {
		return at.property("blob").fault("%s is not sha256: and 64 lower-case hex digits", quote(text))
	}
	return nil
}

// resolve attaches what ref refers to.
func (r *reader) resolve(ref blobRef, open func(functions.Digest) ([]byte, error)) error {
	text, there := ref.object["blob"].(string)
	if !there {
		return nil
	}
	var data []byte
	var err error
	digest := functions.Digest(text) // checked
	from := ref.at.property("blob")
	if i := slices.IndexFunc(r.blobs, func(a functions.Attachment) bool { return a.Digest == digest }); i >= 0 {
		data = r.blobs[i].Data
	} else if data, err = open(digest); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return r.attach(ref, digest, data, from)
}

// attach keeps the bytes of ref, fills in what they say, and checks what ref says. from is the property that gave them.
func (r *reader) attach(ref blobRef, digest functions.Digest, data []byte, from *path) error {
	says := map[string]any{"size": int64(len(data))}
	if ref.audio {
		given, there := ref.object["type"]
		mediaType, _ := given.(string)
		if there && given != nil && mediaType != wav.MediaType && !slices.Contains([]string{"audio/x-wav", "audio/wave", "audio/vnd.wave"}, mediaType) {
			return ref.at.property("type").fault("got %s, want %s", quote(mediaType), wav.MediaType)
		}
		ref.object["type"] = wav.MediaType
		info, err := wav.Parse(data)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		says["sample_hz"], says["channels"], says["dur"] = int64(info.SampleHz), int64(info.Channels), int64(info.Dur)
	}
	for _, name := range sortedKeys(says) {
		given, there := ref.object[name]
		if there && given != says[name] {
			return ref.at.property(name).fault("got %s, but the blob has %d", quote(fmt.Sprint(given)), says[name])
		}
		ref.object[name] = says[name]
	}
	if !slices.ContainsFunc(r.blobs, func(o functions.Attachment) bool { return o.Digest == digest }) {
		mediaType, _ := ref.object["type"].(string)
		r.blobs = append(r.blobs, functions.Attachment{Blob: functions.Blob{Digest: digest, Type: mediaType, Size: int64(len(data))}, Data: data})
	}
	return nil
}
