package docker

import (
	"context"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"karve.dev/karve/agents/node/runtime"
)

// containerActions are the events that change what a container is; others (exec, attach, top, …) are not asked for.
var containerActions = map[events.Action]runtime.EventKind{
	events.ActionCreate:  runtime.ContainerCreated,
	events.ActionStart:   runtime.ContainerStarted,
	events.ActionDie:     runtime.ContainerEnded,
	events.ActionDestroy: runtime.ContainerRemoved,
	events.ActionOOM:     runtime.ContainerOOM,
}

var imageActions = []events.Action{
	events.ActionTag, events.ActionUnTag, events.ActionPull, events.ActionLoad, events.ActionImport, events.ActionDelete,
}

// Watch implements runtime.Runtime. Two streams, because the engine would apply the owner's labels to images too.
func (r *Runtime) Watch(ctx context.Context, owner runtime.Owner, ready func(), handle func(runtime.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The engine keeps its last events: what happens while the stream is set up is sent after all.
	since := strconv.FormatFloat(float64(time.Now().UnixMicro())/1e6, 'f', 6, 64)
	containers := filters(owner).Add("type", "container")
	for action := range containerActions {
		containers.Add("event", string(action))
	}
	images := client.Filters{}.Add("type", "image")
	for _, action := range imageActions {
		images.Add("event", string(action))
	}
	ofContainers := r.cli.Events(ctx, client.EventsListOptions{Since: since, Filters: containers})
	ofImages := r.cli.Events(ctx, client.EventsListOptions{Since: since, Filters: images})
	ready()
	for {
		select {
		case m := <-ofContainers.Messages:
			if meta, ok := runtime.ParseMeta(m.Actor.Attributes); ok {
				handle(runtime.Event{Kind: containerActions[m.Action], ID: m.Actor.ID, Meta: meta})
			}
		case m := <-ofImages.Messages:
			handle(runtime.Event{Kind: runtime.ImageChanged, Image: m.Actor.ID})
		case err := <-ofContainers.Err:
			return wrap("watch containers", err)
		case err := <-ofImages.Err:
			return wrap("watch images", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
