package maintenance

import (
	"bytes"
	"context"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/store"
)

// writer gathers changes and commits them many at a time.
type writer struct {
	store  store.Store
	result *systemv1.RestoreResponse
	ops    []store.Op
	size   int
}

func (w *writer) create(ctx context.Context, kv store.KV) error {
	w.result.Written++
	return w.add(ctx, store.Op{Key: kv.Key, Value: kv.Value, Expected: -1})
}

func (w *writer) remove(ctx context.Context, kv store.KV) error {
	w.result.Deleted++
	return w.add(ctx, store.Op{Key: kv.Key, Expected: -1})
}

// replace writes one object in the place of another. An object that is another by its UID is deleted first, at a
// revision of its own: watchers must not take it for a change of the one they know.
func (w *writer) replace(ctx context.Context, old, new store.KV) error {
	if bytes.Equal(old.Value, new.Value) {
		w.result.Unchanged++
		return nil
	}
	if uid(old.Value) != uid(new.Value) {
		if err := w.add(ctx, store.Op{Key: old.Key, Expected: -1}); err != nil {
			return err
		}
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	return w.create(ctx, new)
}

func (w *writer) add(ctx context.Context, op store.Op) error {
	if len(w.ops) == store.MaxOps || w.size > 0 && w.size+len(op.Value) > chunkBytes {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.ops = append(w.ops, op)
	w.size += len(op.Value)
	return nil
}

func (w *writer) flush(ctx context.Context) error {
	if len(w.ops) == 0 {
		return nil
	}
	_, err := w.store.Commit(ctx, w.ops...)
	w.ops, w.size = w.ops[:0], 0
	return err
}

// uid returns the UID of a stored object, and "" for what is no object.
func uid(value []byte) types.UID {
	raw, protobuf, err := codec.Raw(value)
	if err != nil {
		return ""
	}
	var object metav1.PartialObjectMetadata
	if protobuf {
		if raw, err = codec.MetadataOnly(raw); err == nil {
			err = object.Unmarshal(raw)
		}
	} else {
		err = json.Unmarshal(raw, &object)
	}
	if err != nil {
		return ""
	}
	return object.UID
}
