package maintenance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protodelim"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/services/api/encryption"
	"karve.dev/karve/services/api/store"
)

// maxObject bounds one object of a backup.
const maxObject = 16 << 20

// Restore implements MaintenanceService.
func (s *Service) Restore(in grpc.ClientStreamingServer[systemv1.RestoreRequest, systemv1.RestoreResponse]) error {
	ctx := in.Context()
	if err := s.config.Authorize(ctx, backupPath, "put"); err != nil {
		return err
	}
	spool, err := os.CreateTemp("", "karve-restore-*")
	if err != nil {
		return fmt.Errorf("make room for the backup: %w", err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return fmt.Errorf("make room for the backup: %w", err)
	}
	ring, err := receive(in, spool)
	if err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the received backup: %w", err)
	}
	w := &writer{result: &systemv1.RestoreResponse{}}
	s.alone.Lock()
	defer s.alone.Unlock()
	err = s.config.Hold.restore(ctx, func(inner store.Store) error {
		w.store = inner
		return merge(ctx, inner, &backup{from: bufio.NewReaderSize(spool, chunkBytes), ring: ring}, w)
	})
	if err != nil {
		return fmt.Errorf("restore (it can be repeated): %w", err)
	}
	if err := s.config.Restored(ctx); err != nil {
		return fmt.Errorf("complete what was restored (restore can be repeated): %w", err)
	}
	s.config.Log.Info("a backup was restored", zap.Int64("written", w.result.GetWritten()), zap.Int64("deleted", w.result.GetDeleted()), zap.Int64("unchanged", w.result.GetUnchanged()))
	return in.SendAndClose(w.result)
}

// receive writes all objects of the stream to a file, and returns the keys for its Secrets, nil for none.
func receive(in grpc.ClientStreamingServer[systemv1.RestoreRequest, systemv1.RestoreResponse], to io.Writer) (*encryption.Ring, error) {
	var ring *encryption.Ring
	out, last := bufio.NewWriterSize(to, chunkBytes), ""
	for {
		message, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return nil, apierrors.NewBadRequest("the backup ends too early: nothing was restored")
		}
		if err != nil {
			return nil, err
		}
		if keys := message.GetSecretsKeys(); len(keys) > 0 {
			if ring, err = encryption.Parse(keys); err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
		}
		for _, o := range message.GetObjects() {
			if o.GetKey() <= last || o.GetKey()[0] != '/' || len(o.GetValue()) == 0 {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("the backup is broken at key %q: nothing was restored", o.GetKey()))
			}
			last = o.GetKey()
			if _, err := protodelim.MarshalTo(out, o); err != nil {
				return nil, fmt.Errorf("keep the received backup: %w", err)
			}
		}
		if message.GetComplete() {
			if err := out.Flush(); err != nil {
				return nil, fmt.Errorf("keep the received backup: %w", err)
			}
			return ring, nil
		}
	}
}

// backup reads the received objects in order.
type backup struct {
	from *bufio.Reader
	ring *encryption.Ring
}

// next returns the next key and its value, decrypted; ok is false at the end.
func (b *backup) next() (kv store.KV, ok bool, err error) {
	var o systemv1.StoredObject
	err = protodelim.UnmarshalOptions{MaxSize: maxObject}.UnmarshalFrom(b.from, &o)
	if errors.Is(err, io.EOF) {
		return kv, false, nil
	}
	if err != nil {
		return kv, false, fmt.Errorf("read the received backup: %w", err)
	}
	kv = store.KV{Key: o.GetKey(), Value: o.GetValue()}
	if b.ring != nil {
		if kv.Value, err = b.ring.Open(kv.Key, kv.Value); err != nil {
			return kv, false, fmt.Errorf("decrypt %s: %w", kv.Key, err)
		}
	}
	return kv, true, nil
}

// merge walks through the store and the backup together, in the order of keys, and writes the difference.
func merge(ctx context.Context, s store.Store, from *backup, to *writer) error {
	wanted, more, err := from.next()
	if err != nil {
		return err
	}
	err = walk(ctx, s, func(kv store.KV, _ int64) error {
		for more && wanted.Key < kv.Key {
			if err := to.create(ctx, wanted); err != nil {
				return err
			}
			if wanted, more, err = from.next(); err != nil {
				return err
			}
		}
		if !more || wanted.Key != kv.Key {
			return to.remove(ctx, kv)
		}
		if err := to.replace(ctx, kv, wanted); err != nil {
			return err
		}
		wanted, more, err = from.next()
		return err
	})
	for err == nil && more {
		if err = to.create(ctx, wanted); err == nil {
			wanted, more, err = from.next()
		}
	}
	if err != nil {
		return err
	}
	return to.flush(ctx)
}
