package server

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/watch"
)

const (
	// sharedSlots is how many events of a kind are remembered: watchers of the same objects are told of a change one
	// right after the other.
	sharedSlots = 32
	// sharedBytes is the largest event that is remembered, so that few objects are kept from being freed.
	sharedBytes = 64 << 10
)

// sharedEvents are the newest events of a kind as watchers were sent them. Hundreds may watch the same objects: what
// they are sent is made once and must not be changed.
type sharedEvents struct {
	slots [sharedSlots]atomic.Pointer[sharedEvent]
}

type sharedEvent struct {
	entry    *watch.Entry
	encoding apiv1.Encoding
	event    *apiv1.WatchEvent

	once sync.Once
	wire []byte
	err  error
}

// encoded returns the event as an item of a WatchResponse in its wire form.
func (s *sharedEvent) encoded() ([]byte, error) {
	s.once.Do(func() {
		size := proto.Size(s.event)
		s.wire = binary.AppendUvarint([]byte{tagEvents}, uint64(size))
		s.wire, s.err = proto.MarshalOptions{}.MarshalAppend(slices.Grow(s.wire, size), s.event)
	})
	return s.wire, s.err
}

func (s *sharedEvents) slot(entry *watch.Entry, encoding apiv1.Encoding) *atomic.Pointer[sharedEvent] {
	n := uint64(entry.Revision) * 2
	if encoding == json_ {
		n++ // watchers of both encodings do not take each other's place
	}
	return &s.slots[n%sharedSlots]
}

// find returns what watchers are told of the entry, or nil.
func (s *sharedEvents) find(entry *watch.Entry, encoding apiv1.Encoding, kind apiv1.WatchEvent_Type) *sharedEvent {
	there := s.slot(entry, encoding).Load()
	if there == nil || there.entry != entry || there.encoding != encoding || there.event.GetType() != kind {
		return nil
	}
	return there
}

// keep remembers an event for the next watchers.
func (s *sharedEvents) keep(e *sharedEvent) {
	if len(e.event.GetObject().GetData()) <= sharedBytes {
		s.slot(e.entry, e.encoding).Store(e)
	}
}

// answers are the newest objects as those who wrote them were answered, in JSON. Watchers are told the same, and whoever
// patches an object next begins with it: nobody has to encode it again.
type answers struct {
	slots [sharedSlots]atomic.Pointer[answer]
}

type answer struct {
	value    []byte // as stored
	revision int64
	json     []byte
}

func (a *answers) find(entry *watch.Entry) []byte {
	there := a.slots[uint64(entry.Revision)%sharedSlots].Load()
	if there == nil || there.revision != entry.Revision || !bytes.Equal(there.value, entry.Value) {
		return nil // the last state of what is gone has the revision of its going
	}
	return there.json
}

func (a *answers) keep(it *item, json []byte) {
	if len(json) <= sharedBytes {
		a.slots[uint64(it.revision)%sharedSlots].Store(&answer{it.value, it.revision, json})
	}
}
