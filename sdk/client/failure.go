package client

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// wireError is an error in Connect's JSON, as the plain doors send it.
type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details []struct {
		Type  string `json:"type"`
		Value string `json:"value"` // base64 without padding
	} `json:"details"`
}

var failureType = string((&catenaryv1.Failure{}).ProtoReflect().Descriptor().FullName())

// parseWireError returns the failure that body stands for; err is set if body is not Connect's JSON.
func parseWireError(body []byte) (failure, err error) {
	var w wireError
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, err
	}
	for _, d := range w.Details {
		if d.Type != failureType {
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(d.Value)
		if err != nil {
			return nil, err
		}
		f := new(catenaryv1.Failure)
		if err := proto.Unmarshal(raw, f); err != nil {
			return nil, err
		}
		return f.Err(), nil
	}
	var code connect.Code
	if err := code.UnmarshalText([]byte(w.Code)); err != nil {
		return nil, err
	}
	return fmt.Errorf("%w: %s", sentinel(code), w.Message), nil
}
