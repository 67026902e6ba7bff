package inventory

import (
	"errors"
	"unique"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of meta/v1's messages. Only what an Object holds is read: most of an object's metadata (labels,
// annotations, managed fields) would be decoded for nothing, on every change of anything in the cluster.
const (
	partialMetadata = 1 // PartialObjectMetadata.metadata

	metaName              = 1
	metaNamespace         = 3
	metaUID               = 5
	metaDeletionTimestamp = 9
	metaAnnotations       = 12
	metaOwnerReferences   = 13
	metaFinalizers        = 14

	ownerKind       = 1
	ownerName       = 3
	ownerUID        = 4
	ownerAPIVersion = 5
	ownerBlock      = 7

	mapKey   = 1
	mapValue = 2
)

// shared returns a string that many objects have, held once.
func shared(value []byte) string { return unique.Make(string(value)).Value() }

var errMalformed = errors.New("malformed object metadata")

// eachField calls fn with the fields of a message that are bytes (number, bytes, 0) or numbers (number, nil, value).
func eachField(data []byte, fn func(number protowire.Number, value []byte, n uint64) error) error {
	for len(data) > 0 {
		number, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return errMalformed
		}
		data = data[size:]
		var err error
		switch kind {
		case protowire.BytesType:
			var value []byte
			if value, size = protowire.ConsumeBytes(data); size >= 0 {
				err = fn(number, value, 0)
			}
		case protowire.VarintType:
			var n uint64
			if n, size = protowire.ConsumeVarint(data); size >= 0 {
				err = fn(number, nil, n)
			}
		default:
			size = protowire.ConsumeFieldValue(number, kind, data)
		}
		if size < 0 {
			return errMalformed
		}
		if err != nil {
			return err
		}
		data = data[size:]
	}
	return nil
}

// decode reads a PartialObjectMetadata. Annotation is the value of metadata.annotations[wanted].
func decode(data []byte, kind *Kind, wanted string) (obj *Object, annotation string, err error) {
	obj = &Object{Kind: kind}
	err = eachField(data, func(number protowire.Number, meta []byte, _ uint64) error {
		if number != partialMetadata {
			return nil
		}
		return eachField(meta, func(number protowire.Number, value []byte, _ uint64) error {
			if number == metaAnnotations && wanted != "" {
				if key, v, err := entry(value); err != nil || key == wanted {
					annotation = v
					return err
				}
				return nil
			}
			return obj.set(number, value)
		})
	})
	return obj, annotation, err
}

func (o *Object) set(number protowire.Number, value []byte) error {
	switch number {
	case metaName:
		o.Name = string(value)
	case metaNamespace:
		o.Namespace = shared(value)
	case metaUID:
		o.UID = string(value)
	case metaDeletionTimestamp:
		o.Deleting = true
	case metaFinalizers:
		o.Finalizers = append(o.Finalizers, shared(value))
	case metaOwnerReferences:
		owner, err := decodeOwner(value)
		o.Owners = append(o.Owners, owner)
		return err
	}
	return nil
}

func decodeOwner(data []byte) (Owner, error) {
	var o Owner
	err := eachField(data, func(number protowire.Number, value []byte, n uint64) error {
		switch number {
		case ownerKind:
			o.Kind = shared(value)
		case ownerName:
			o.Name = shared(value)
		case ownerUID:
			o.UID = shared(value)
		case ownerAPIVersion:
			o.APIVersion = shared(value)
		case ownerBlock:
			o.Block = n != 0
		}
		return nil
	})
	return o, err
}

func entry(data []byte) (key, value string, err error) {
	err = eachField(data, func(number protowire.Number, bytes []byte, _ uint64) error {
		switch number {
		case mapKey:
			key = string(bytes)
		case mapValue:
			value = string(bytes)
		}
		return nil
	})
	return key, value, err
}
