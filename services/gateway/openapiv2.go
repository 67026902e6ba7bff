package gateway

import (
	"fmt"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"

	"karve.dev/karve/services/gateway/media"
)

// The media types under which clients ask for the OpenAPI v2 document as protobuf: kubectl knows no other form of it.
// The second is how the answer names it: the first is no valid media type.
const (
	openAPIv2Protobuf     = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
	openAPIv2ProtobufDots = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
)

// wantsOpenAPIv2Protobuf reads an Accept header: the first form that it names counts.
func wantsOpenAPIv2Protobuf(header string) bool {
	var buf [8]media.Clause
	for _, c := range media.Clauses(header, buf[:]) {
		switch c.Type {
		case openAPIv2Protobuf, openAPIv2ProtobufDots:
			return true
		case media.ContentTypeJSON:
			return false
		}
	}
	return false
}

// openAPIv2 turns the JSON document into protobuf. Clients keep it on disk by its ETag, so that happens rarely and
// nothing is kept here.
func openAPIv2(document []byte) ([]byte, error) {
	parsed, err := openapiv2.ParseDocument(document)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI v2 document: %w", err)
	}
	data, err := proto.Marshal(parsed)
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI v2 document as protobuf: %w", err)
	}
	return data, nil
}
