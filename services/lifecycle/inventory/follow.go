package inventory

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
)

const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 5 * time.Second
	// distrustAfter is how many watches in a row may fail before the revision to resume from is given up.
	distrustAfter = 8
)

// retry calls run until ctx ends, with growing pauses while it brings nothing.
func retry(ctx context.Context, run func(ctx context.Context, failures int) (progress bool)) {
	backoff, failures := minBackoff, 0
	for ctx.Err() == nil {
		failures++
		if run(ctx, failures) {
			backoff, failures = minBackoff, 0
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff/2 + rand.N(backoff)):
		}
		backoff = min(backoff*2, maxBackoff)
	}
}

// Run follows the cluster until ctx ends.
func (inv *Inventory) Run(ctx context.Context) error {
	f := &followers{inv: inv, running: map[*Kind]context.CancelFunc{}}
	defer f.wait.Wait()
	defer f.stopAll()
	retry(ctx, func(ctx context.Context, failures int) bool {
		progress, err := f.watchKinds(ctx)
		if ctx.Err() == nil && !errors.Is(err, io.EOF) {
			inv.log.Debug("watch of the served kinds ended, resuming", zap.Int("failures", failures), zap.Error(err))
		}
		return progress
	})
	return nil
}

// followers runs one goroutine for each kind that is served.
type followers struct {
	inv     *Inventory
	running map[*Kind]context.CancelFunc
	wait    sync.WaitGroup
	synced  sync.Once
}

func (f *followers) watchKinds(ctx context.Context) (progress bool, err error) {
	// The followers live on when this stream breaks.
	stream, err := f.inv.discovery.WatchKinds(ctx, &apiv1.WatchKindsRequest{})
	if err != nil {
		return false, apierr.FromGRPC(err)
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return progress, apierr.FromGRPC(err)
		}
		progress = true
		f.apply(ctx, kindsOf(res.GetKinds(), f.inv.Kinds()))
	}
}

// apply starts following what is new and stops following what is gone.
func (f *followers) apply(ctx context.Context, kinds []*Kind) {
	served := map[*Kind]bool{}
	var first []chan struct{}
	for _, k := range kinds {
		served[k] = true
		if f.running[k] != nil || !k.List || k.Kind == "Event" {
			continue
		}
		follow, stop := context.WithCancel(ctx)
		f.running[k] = stop
		done := make(chan struct{})
		first = append(first, done)
		f.wait.Go(func() { f.inv.follow(follow, k, sync.OnceFunc(func() { close(done) })) })
	}
	// First this: a follower that is stopped looks whether its kind is still served.
	f.inv.mu.Lock()
	f.inv.kinds = kinds
	f.inv.mu.Unlock()
	for k, stop := range f.running {
		if !served[k] {
			stop()
			delete(f.running, k)
		}
	}
	f.synced.Do(func() {
		f.wait.Go(func() {
			for _, done := range first {
				select {
				case <-done:
				case <-ctx.Done():
					return
				}
			}
			close(f.inv.synced)
		})
	})
}

func (f *followers) stopAll() {
	for _, stop := range f.running {
		stop()
	}
}

// kindsOf returns one Kind for each resource: the preferred version of it, and the Kind of before where it is the same.
func kindsOf(infos []*apiv1.KindInfo, before []*Kind) []*Kind {
	known := make(map[Kind]*Kind, len(before))
	for _, k := range before {
		known[*k] = k
	}
	type name struct{ group, resource string }
	chosen := map[name]*apiv1.KindInfo{}
	var order []name
	for _, info := range infos {
		n := name{info.GetGroup(), info.GetResource()}
		if chosen[n] == nil {
			order = append(order, n)
		}
		if chosen[n] == nil || info.GetPreferred() {
			chosen[n] = info
		}
	}
	out := make([]*Kind, 0, len(order))
	for _, n := range order {
		k := kindOf(chosen[n])
		if same := known[k]; same != nil {
			out = append(out, same)
			continue
		}
		out = append(out, &k)
	}
	return out
}

func kindOf(info *apiv1.KindInfo) Kind {
	k := Kind{Group: info.GetGroup(), Version: info.GetVersion(), Kind: info.GetKind(), Resource: info.GetResource(), Namespaced: info.GetNamespaced()}
	verbs := map[string]bool{}
	for _, v := range info.GetVerbs() {
		verbs[v] = true
	}
	k.List, k.Delete, k.DeleteCollection = verbs["list"] && verbs["watch"], verbs["delete"], verbs["deletecollection"]
	return k
}

// follow keeps the objects of one kind until ctx ends, and then forgets them. It calls synced after each snapshot.
func (inv *Inventory) follow(ctx context.Context, kind *Kind, synced func()) {
	resume := ""
	retry(ctx, func(ctx context.Context, failures int) bool {
		w := &watching{inv: inv, kind: kind, resume: resume, synced: synced}
		progress, err := w.run(ctx)
		resume = w.resume
		if startOver(err) || failures >= distrustAfter && !apierrors.IsServiceUnavailable(err) && !apierrors.IsServerTimeout(err) {
			resume = ""
		}
		if ctx.Err() == nil {
			inv.log.Debug("watch ended, resuming", zap.String("resource", kind.Resource), zap.String("revision", resume), zap.Int("failures", failures), zap.Error(err))
		}
		return progress
	})
	// The cluster's end is no reason to tell anybody that everything has gone.
	if !inv.served(kind) {
		inv.dropKind(kind, nil)
	}
}

func (inv *Inventory) served(kind *Kind) bool {
	for _, k := range inv.Kinds() {
		if k == kind {
			return true
		}
	}
	return false
}

func startOver(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsBadRequest(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// watching is one stream of a kind. While a snapshot arrives, seen holds the uids that exist.
type watching struct {
	inv    *Inventory
	kind   *Kind
	resume string
	seen   map[string]bool
	synced func()
}

func (w *watching) run(ctx context.Context) (progress bool, err error) {
	req := &apiv1.WatchRequest{
		Ref:             &apiv1.ObjectRef{ApiVersion: w.kind.APIVersion(), Kind: w.kind.Kind},
		ResourceVersion: w.resume, AllowBookmarks: true,
		As: &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Form: apiv1.Form_FORM_METADATA},
	}
	if w.resume == "" {
		yes := true
		req.SendInitialEvents, req.ResourceVersionMatch = &yes, string(metav1.ResourceVersionMatchNotOlderThan)
		w.seen = map[string]bool{}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.inv.rpc.Watch(ctx, req)
	if err != nil {
		return false, apierr.FromGRPC(err)
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return progress, apierr.FromGRPC(err)
		}
		for _, ev := range res.GetEvents() {
			if err := w.apply(ev); err != nil {
				return progress, err
			}
			progress = true
		}
	}
}

func (w *watching) apply(ev *apiv1.WatchEvent) error {
	if ev.GetType() == apiv1.WatchEvent_TYPE_ERROR {
		return statusOf(ev.GetObject())
	}
	wanted := ""
	if ev.GetType() == apiv1.WatchEvent_TYPE_BOOKMARK {
		wanted = metav1.InitialEventsAnnotationKey
	}
	obj, annotation, err := decode(ev.GetObject().GetData(), w.kind, wanted)
	if err != nil {
		return err
	}
	switch ev.GetType() {
	case apiv1.WatchEvent_TYPE_ADDED, apiv1.WatchEvent_TYPE_MODIFIED:
		if w.seen != nil {
			w.seen[obj.UID] = true
		}
		w.inv.put(obj)
	case apiv1.WatchEvent_TYPE_DELETED:
		delete(w.seen, obj.UID)
		w.inv.drop(obj.UID)
	case apiv1.WatchEvent_TYPE_BOOKMARK:
		if w.seen != nil && annotation == "true" {
			w.inv.dropKind(w.kind, w.seen)
			w.seen = nil
			w.synced()
		}
	}
	if w.seen == nil {
		w.resume = strconv.FormatInt(ev.GetRevision(), 10)
	}
	return nil
}
