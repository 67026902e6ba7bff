package media

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// magic begins every protobuf body of the Kubernetes API.
const magic = "k8s\x00"

// Field numbers of runtime.Unknown and runtime.TypeMeta.
const (
	unknownTypeMeta, unknownRaw, unknownEncoding, unknownContentType = 1, 2, 3, 4

	typeMetaVersion, typeMetaKind = 1, 2
)

// unknownTail is contentEncoding and contentType, both empty, as Kubernetes writes them.
var unknownTail = []byte("\x1a\x00\x22\x00")

// Envelope returns what to write before and after an object's protobuf bytes so that the three together are a
// Kubernetes protobuf body. The bytes themselves are never copied. Head is written into buf when it fits; tail must not
// be changed.
func Envelope(buf []byte, apiVersion, kind string, size int) (head, tail []byte) {
	head = append(buf[:0], magic...)
	head = appendUnknown(head, apiVersion, kind, size)
	return head, unknownTail
}

func appendUnknown(b []byte, apiVersion, kind string, size int) []byte {
	meta := sizeString(apiVersion) + sizeString(kind)
	b = protowire.AppendTag(b, unknownTypeMeta, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(meta))
	b = protowire.AppendTag(b, typeMetaVersion, protowire.BytesType)
	b = protowire.AppendString(b, apiVersion)
	b = protowire.AppendTag(b, typeMetaKind, protowire.BytesType)
	b = protowire.AppendString(b, kind)
	b = protowire.AppendTag(b, unknownRaw, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}

func sizeString(s string) int { return 1 + protowire.SizeBytes(len(s)) }

// OpenEnvelope returns what a Kubernetes protobuf body carries; data points into body.
func OpenEnvelope(body []byte) (apiVersion, kind string, data []byte, err error) {
	if len(body) < len(magic) || string(body[:len(magic)]) != magic {
		return "", "", nil, fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", []byte(magic))
	}
	err = eachField(body[len(magic):], func(num protowire.Number, value []byte) error {
		switch num {
		case unknownTypeMeta:
			return eachField(value, func(num protowire.Number, value []byte) error {
				switch num {
				case typeMetaVersion:
					apiVersion = string(value)
				case typeMetaKind:
					kind = string(value)
				}
				return nil
			})
		case unknownRaw:
			data = value
		case unknownEncoding, unknownContentType:
			if len(value) > 0 && string(value) != ContentTypeProtobuf {
				return fmt.Errorf("the protobuf envelope carries %q", value)
			}
		}
		return nil
	})
	return apiVersion, kind, data, err
}

// eachField calls visit with the length-delimited fields of a protobuf message.
func eachField(b []byte, visit func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := visit(num, value); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// eventNames are the types of watch events on the wire.
var eventNames = [...]string{"", "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"}

// jsonHeads begin the frame of an event.
var jsonHeads = func() (heads [len(eventNames)]string) {
	for i, name := range eventNames {
		heads[i] = `{"type":"` + name + `","object":`
	}
	return heads
}()

const jsonTail = "}\n"

// AppendEvent appends an event with an object's bytes, framed for a watch of type t.
func AppendEvent(b []byte, t Type, kind apiv1.WatchEvent_Type, obj *apiv1.Object, data []byte) []byte {
	if int(kind) >= len(eventNames) || kind < 0 {
		kind = apiv1.WatchEvent_TYPE_UNSPECIFIED
	}
	if t == Protobuf {
		return appendProtobufEvent(b, eventNames[kind], obj, data)
	}
	b = append(b, jsonHeads[kind]...)
	b = append(b, data...)
	return append(b, jsonTail...)
}

// Field numbers of meta/v1 WatchEvent and runtime.RawExtension.
const (
	eventType, eventObject = 1, 2
	extensionRaw           = 1
)

// appendProtobufEvent writes: length, WatchEvent{type, object: RawExtension{raw: envelope}}. Each length is known before
// its content is written, from the inside out.
func appendProtobufEvent(b []byte, name string, obj *apiv1.Object, data []byte) []byte {
	var inner [256]byte
	envelope, tail := Envelope(inner[:0], obj.GetApiVersion(), obj.GetKind(), len(data))
	body := len(envelope) + len(data) + len(tail)
	extension := 1 + protowire.SizeVarint(uint64(body)) + body
	event := sizeString(name) + 1 + protowire.SizeVarint(uint64(extension)) + extension

	b = binary.BigEndian.AppendUint32(b, uint32(event))
	b = protowire.AppendTag(b, eventType, protowire.BytesType)
	b = protowire.AppendString(b, name)
	b = protowire.AppendTag(b, eventObject, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(extension))
	b = protowire.AppendTag(b, extensionRaw, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(body))
	b = append(b, envelope...)
	b = append(b, data...)
	return append(b, tail...)
}
