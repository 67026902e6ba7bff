package main

import (
	"context"

	"karve.dev/karve/internal/process"
)

// wireDebug shows health, metrics and profiles on a socket that only the daemon's own user can open.
func (d *daemon) wireDebug() error {
	handler := process.Debug{Health: d.health, Metrics: d.metrics}.Handler()
	d.group.Add(process.Component{
		Name: "debug socket", Background: true,
		Run: func(ctx context.Context) error { return process.ServeUnix(ctx, d.dir.Socket(), handler) },
	})
	return nil
}
