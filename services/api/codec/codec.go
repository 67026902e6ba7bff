// Package codec turns objects into stored values and into what clients receive. A stored value holds an object's
// protobuf bytes verbatim, so an answer in protobuf is a copy of them plus a few bytes that set the resourceVersion:
// nothing is decoded.
package codec

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/registry"
)

// message is what k8s.io/api generates for every kind with a protobuf form.
type message interface {
	Size() int
	MarshalTo([]byte) (int, error)
	Unmarshal([]byte) error
}

// prefix begins a stored value in protobuf; a runtime.Unknown message follows. Other values are JSON.
const prefix = "k8s\x00"

// Field tags of runtime.Unknown, runtime.TypeMeta, and of objects and their metadata.
const (
	tagTypeMeta        = 1<<3 | 2
	tagRaw             = 2<<3 | 2
	tagAPIVersion      = 1<<3 | 2
	tagKind            = 2<<3 | 2
	tagMetadata        = 1<<3 | 2
	tagItems           = 2<<3 | 2
	tagResourceVersion = 6<<3 | 2
)

var errBroken = errors.New("stored value is broken")

// HasProtobuf tells whether obj can be written as protobuf.
func HasProtobuf(obj any) bool {
	_, ok := obj.(message)
	return ok
}

// Encode returns the value to store for obj. The resourceVersion is not part of it: it is the store's revision. obj is
// as before when Encode returns, but must not be read by others meanwhile.
func Encode(gvk schema.GroupVersionKind, obj registry.Object) ([]byte, error) {
	version := obj.GetResourceVersion()
	obj.SetResourceVersion("")
	defer obj.SetResourceVersion(version)
	m, ok := obj.(message)
	if !ok {
		return EncodeJSON(gvk, obj)
	}
	apiVersion := gvk.GroupVersion().String()
	typeMeta := 2 + len(apiVersion) + 2 + len(gvk.Kind)
	size := m.Size()
	out := make([]byte, 0, len(prefix)+2+typeMeta+1+binary.MaxVarintLen32+size)
	out = append(out, prefix...)
	out = append(out, tagTypeMeta, byte(typeMeta), tagAPIVersion, byte(len(apiVersion)))
	out = append(out, apiVersion...)
	out = append(out, tagKind, byte(len(gvk.Kind)))
	out = append(out, gvk.Kind...)
	out = append(out, tagRaw)
	out = binary.AppendUvarint(out, uint64(size))
	n, err := m.MarshalTo(out[len(out) : len(out)+size])
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", gvk.Kind, err)
	}
	return out[:len(out)+n], nil
}

// Raw returns an object's own bytes within a stored value, not copied. Protobuf is false for a value in JSON.
func Raw(value []byte) (raw []byte, protobuf bool, err error) {
	if len(value) < len(prefix) || string(value[:len(prefix)]) != prefix {
		return value, false, nil
	}
	rest := value[len(prefix):]
	for len(rest) > 0 {
		tag := rest[0]
		length, n := binary.Uvarint(rest[1:])
		if n <= 0 || length > uint64(len(rest)-1-n) {
			return nil, false, errBroken
		}
		body := rest[1+n : 1+n+int(length)]
		if tag == tagRaw {
			return body, true, nil
		}
		rest = rest[1+n+int(length):]
	}
	return nil, false, errBroken
}

// Decode reads a stored value into an empty object and sets its resourceVersion.
func Decode(value []byte, revision int64, into registry.Object) error {
	raw, protobuf, err := Raw(value)
	if err != nil {
		return err
	}
	if protobuf {
		m, ok := into.(message)
		if !ok {
			return fmt.Errorf("decode into %T: it has no protobuf form", into)
		}
		err = m.Unmarshal(raw)
	} else {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("decode %T: %w", into, err)
	}
	into.SetResourceVersion(strconv.FormatInt(revision, 10))
	registry.Restore(into)
	return nil
}

// AppendProtobuf appends an object's wire form: its bytes, then a second metadata field that holds only the
// resourceVersion. Protobuf merges the two. Revision 0 is an object that was not stored: it has none.
func AppendProtobuf(dst, raw []byte, revision int64) []byte {
	dst = append(dst, raw...)
	if revision == 0 {
		return dst
	}
	return appendTail(dst, revision)
}

const maxTail = 4 + 20

func appendTail(dst []byte, revision int64) []byte {
	at := len(dst)
	dst = append(dst, tagMetadata, 0, tagResourceVersion, 0)
	dst = strconv.AppendInt(dst, revision, 10)
	digits := byte(len(dst) - at - 4)
	dst[at+1], dst[at+3] = digits+2, digits
	return dst
}

func tailSize(revision int64) int {
	n := 5
	for revision >= 10 {
		revision /= 10
		n++
	}
	return n
}

// Marshal returns the protobuf form of any message of k8s.io/api or apimachinery.
func Marshal(obj runtime.Object) ([]byte, error) {
	m, ok := obj.(message)
	if !ok {
		return nil, fmt.Errorf("%T has no protobuf form", obj)
	}
	out := make([]byte, m.Size())
	n, err := m.MarshalTo(out)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", obj, err)
	}
	return out[:n], nil
}

// Unmarshal reads the protobuf form of an object into an empty one.
func Unmarshal(data []byte, into runtime.Object) error {
	m, ok := into.(message)
	if !ok {
		return fmt.Errorf("%T has no protobuf form", into)
	}
	return m.Unmarshal(data)
}

// MetadataOnly cuts an object's bytes down to its metadata: the wire form of a PartialObjectMetadata without its
// resourceVersion.
func MetadataOnly(raw []byte) ([]byte, error) {
	if len(raw) == 0 || raw[0] != tagMetadata {
		return nil, errBroken
	}
	length, n := binary.Uvarint(raw[1:])
	if n <= 0 || length > uint64(len(raw)-1-n) {
		return nil, errBroken
	}
	return raw[:1+n+int(length)], nil
}

// List builds a list message out of the bytes of its items.
type List struct {
	buf []byte
}

// NewList begins a list with its metadata; size is an estimate of all items together.
func NewList(meta metav1.ListMeta, size int) (*List, error) {
	head, err := meta.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode list metadata: %w", err)
	}
	l := &List{buf: make([]byte, 0, size+len(head)+8)}
	l.buf = append(l.buf, tagMetadata)
	l.buf = binary.AppendUvarint(l.buf, uint64(len(head)))
	l.buf = append(l.buf, head...)
	return l, nil
}

// Add appends one item.
func (l *List) Add(raw []byte, revision int64) {
	l.buf = append(l.buf, tagItems)
	l.buf = binary.AppendUvarint(l.buf, uint64(len(raw)+tailSize(revision)))
	l.buf = AppendProtobuf(l.buf, raw, revision)
}

// Bytes returns the list's wire form.
func (l *List) Bytes() []byte { return l.buf }

// ItemOverhead bounds what an item costs in a list besides its own bytes.
const ItemOverhead = maxTail + 1 + binary.MaxVarintLen32
