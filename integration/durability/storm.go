// Package durability writes to a cluster that is killed again and again, and watches it: what came out is judged from
// the outside.
package durability

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Keys is how many ConfigMaps the storm writes to.
const Keys = 8

// Storm writes to a few ConfigMaps from many clients at once and records what it was answered. Every value is written
// at most once.
type Storm struct {
	client  typedcorev1.ConfigMapInterface
	values  atomic.Int64
	began   time.Time
	mu      sync.Mutex
	history []porcupine.Operation
	// acknowledged are the revisions at which writes were answered, and what they wrote: "" for a deletion.
	acknowledged map[int64]change
	// open are operations without an answer: they ended, if at all, before the server was up again.
	open []porcupine.Operation
}

// change is what happened to a key.
type change struct{ key, value string }

// NewStorm returns a storm against namespace default.
func NewStorm(client kubernetes.Interface) *Storm {
	return &Storm{client: client.CoreV1().ConfigMaps(metav1.NamespaceDefault), began: time.Now(), acknowledged: map[int64]change{}}
}

func (s *Storm) now() int64 { return int64(time.Since(s.began)) }

// Run writes with workers clients until ctx ends; a client that gets no answer ends, too.
func (s *Storm) Run(ctx context.Context, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			seen := map[string]seen{}
			for ctx.Err() == nil && s.step(ctx, w, fmt.Sprintf("storm-%d", rand.IntN(Keys)), seen) {
			}
		})
	}
	wg.Wait()
}

// seen is what a client last saw of a key.
type seen struct{ value, revision string }

// step carries out one operation, records it, and says whether it was answered.
func (s *Storm) step(ctx context.Context, worker int, key string, known map[string]seen) bool {
	in := input{key: key, op: rand.IntN(opCount)}
	last := known[key]
	if in.op == opSwap && last.revision == "" {
		in.op = opRead
	}
	if in.op == opCreate || in.op == opWrite || in.op == opSwap {
		in.value = strconv.FormatInt(s.values.Add(1), 10)
	}
	in.expected = last.value
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: key}, Data: map[string]string{"value": in.value}}
	if in.op == opSwap {
		object.ResourceVersion = last.revision
	}
	call := s.now()
	got, err := s.do(ctx, in, object)
	out, now := judge(in, got, err)
	s.record(porcupine.Operation{ClientId: worker, Input: in, Call: call, Output: out, Return: s.now()})
	if now.revision != "" {
		known[key] = now
	}
	return out.result != unknown
}

func (s *Storm) do(ctx context.Context, in input, object *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	switch in.op {
	case opRead:
		return s.client.Get(ctx, in.key, metav1.GetOptions{})
	case opCreate:
		return s.client.Create(ctx, object, metav1.CreateOptions{})
	case opDelete:
		return nil, s.client.Delete(ctx, in.key, metav1.DeleteOptions{})
	}
	return s.client.Update(ctx, object, metav1.UpdateOptions{})
}

// judge says what an answer means.
func judge(in input, got *corev1.ConfigMap, err error) (output, seen) {
	switch {
	case err == nil && in.op == opDelete:
		return output{result: done}, seen{}
	case err == nil:
		out := output{result: done, value: got.Data["value"]}
		out.revision, err = strconv.ParseInt(got.ResourceVersion, 10, 64)
		if err != nil {
			return output{result: unknown}, seen{}
		}
		return out, seen{got.Data["value"], got.ResourceVersion}
	case apierrors.IsNotFound(err):
		return output{result: absent}, seen{}
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
		return output{result: refused}, seen{}
	}
	return output{result: unknown}, seen{}
}

func (s *Storm) record(op porcupine.Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, out := op.Input.(input), op.Output.(output)
	if out.result == unknown {
		if in.op != opRead {
			s.open = append(s.open, op)
		}
		return
	}
	s.history = append(s.history, op)
	if out.result == done && in.op != opRead && in.op != opDelete {
		s.acknowledged[out.revision] = change{in.key, in.value}
	}
}

// Restarted says that the server is up again: what it did not answer before will not happen any more.
func (s *Storm) Restarted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.open {
		op.Return = s.now()
		s.history = append(s.history, op)
	}
	s.open = nil
}

// Operations returns what was recorded.
func (s *Storm) Operations() []porcupine.Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history
}

// Acknowledged returns the writes, other than deletions, that were answered, by their revisions.
func (s *Storm) Acknowledged() map[int64]change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acknowledged
}
