package codec

import (
	"encoding/binary"
	"encoding/json"
)

// Field numbers within ObjectMeta, and of a map entry.
const (
	tagLabels   = 11<<3 | 2
	tagMapKey   = 1<<3 | 2
	tagMapValue = 2<<3 | 2
)

// Labels reads an object's labels out of its stored value and decodes nothing else.
func Labels(value []byte) (map[string]string, error) {
	raw, protobuf, err := Raw(value)
	if err != nil {
		return nil, err
	}
	if !protobuf {
		var partial struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
		}
		err := json.Unmarshal(raw, &partial)
		return partial.Metadata.Labels, err
	}
	meta, ok := first(raw, tagMetadata)
	if !ok {
		return nil, errBroken
	}
	var out map[string]string
	ok = each(meta, func(tag uint64, body []byte) bool {
		if tag != tagLabels {
			return true
		}
		key, ok1 := first(body, tagMapKey)
		val, ok2 := first(body, tagMapValue)
		if out == nil {
			out = map[string]string{}
		}
		out[string(key)] = string(val)
		return ok1 && ok2
	})
	if !ok {
		return nil, errBroken
	}
	return out, nil
}

// first returns the first length-delimited field with the tag; an absent one is empty.
func first(msg []byte, tag uint64) (body []byte, ok bool) {
	found := false
	ok = each(msg, func(t uint64, b []byte) bool {
		if t == tag && !found {
			body, found = b, true
		}
		return true
	})
	return body, ok
}

// each calls fn for every field of a protobuf message; body is nil for fields that carry no bytes. It reports whether
// the message is whole and fn agreed throughout.
func each(msg []byte, fn func(tag uint64, body []byte) bool) bool {
	for len(msg) > 0 {
		tag, n := binary.Uvarint(msg)
		if n <= 0 {
			return false
		}
		msg = msg[n:]
		var body []byte
		switch tag & 7 {
		case 0:
			if _, n = binary.Uvarint(msg); n <= 0 {
				return false
			}
		case 1:
			n = 8
		case 2:
			length, m := binary.Uvarint(msg)
			if m <= 0 || length > uint64(len(msg)-m) {
				return false
			}
			body, n = msg[m:m+int(length)], m+int(length)
		case 5:
			n = 4
		default:
			return false
		}
		if n > len(msg) || !fn(tag, body) {
			return false
		}
		msg = msg[n:]
	}
	return true
}
