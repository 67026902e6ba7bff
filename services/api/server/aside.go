package server

import (
	"context"
	"encoding/binary"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/transport"
)

// asideFrom is the size from which an object's bytes are sent by reference.
const asideFrom = 32 << 10

// The tags of Result.object, Object.data and WatchResponse.events.
const (
	tagObject = 1<<3 | 2
	tagData   = 4<<3 | 2
	tagEvents = 1<<3 | 2
)

// aside has a large object's bytes sent after the rest of the answer, by reference: a list is neither joined nor copied
// into its message. Protobuf merges an embedded message that comes twice.
func aside(ctx context.Context, req, res any) {
	wire, onWire := transport.OnWire(ctx)
	result, isResult := res.(*apiv1.Result)
	if !onWire || !isResult {
		return
	}
	if list, ok := req.(*apiv1.ListRequest); ok && list.GetAs().GetInPieces() {
		return
	}
	o := result.GetObject()
	parts := append([][]byte{nil, o.GetData()}, o.GetPieces()...)
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size < asideFrom && len(o.GetPieces()) == 0 {
		return
	}
	data := binary.AppendUvarint([]byte{tagData}, uint64(size))
	parts[0] = append(binary.AppendUvarint([]byte{tagObject}, uint64(len(data)+size)), data...)
	o.Data, o.Pieces = nil, nil
	wire.Follow(parts...)
}
