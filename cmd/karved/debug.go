package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"karve.dev/karve/internal/process"
	"karve.dev/karve/internal/reconcile"
)

// allMetrics are the process's own, those of the controllers that run in it, and those of libraries that know one registry
// only, etcd's among them.
func allMetrics(own prometheus.Gatherer) prometheus.Gatherer {
	queues := prometheus.NewRegistry()
	queues.MustRegister(reconcile.Collector{})
	return prometheus.Gatherers{own, queues, prometheus.DefaultGatherer}
}

// debugComponent shows health, metrics and profiles on a socket that only the daemon's own user can open.
func debugComponent(socket string, health *process.Health, metrics prometheus.Gatherer) process.Component {
	handler := process.Debug{Health: health, Metrics: allMetrics(metrics)}.Handler()
	return process.Component{
		Name: "debug socket", Background: true,
		Run: func(ctx context.Context) error { return process.ServeUnix(ctx, socket, handler) },
	}
}

// memoryComponent keeps the process small.
func memoryComponent() process.Component {
	return process.Component{Name: "memory", Background: true, Run: process.KeepMemoryLow}
}

func (d *daemon) wireDebug() error {
	d.group.Add(debugComponent(d.dir.Socket(), d.health, d.metrics))
	d.group.Add(memoryComponent())
	return nil
}
