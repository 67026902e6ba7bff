package codec

import (
	"fmt"

	"karve.dev/karve/services/api/watch"
)

// FormWire is an entry's protobuf with its resourceVersion.
const FormWire watch.Form = "proto"

// Wire returns an entry of the cache in protobuf, as clients receive it. Everybody who asks shares the bytes.
func Wire(e *watch.Entry) ([]byte, error) {
	return e.Encoded(FormWire, func(e *watch.Entry) ([]byte, error) {
		if e.Err != nil {
			return nil, e.Err
		}
		raw, protobuf, err := Raw(e.Value)
		if err != nil {
			return nil, err
		}
		if !protobuf {
			return nil, fmt.Errorf("%s is not stored as protobuf", e.Key)
		}
		return AppendProtobuf(make([]byte, 0, len(raw)+ItemOverhead), raw, e.Revision), nil
	})
}
