package main

import (
	// Cron jobs name time zones; machines need not have them.
	_ "time/tzdata"

	"github.com/go-logr/logr/funcr"
	"go.uber.org/zap"
	"k8s.io/klog/v2"
)

// quietLibraries sends what Kubernetes' libraries log to log, at debug level: what matters of it comes back as an error.
func quietLibraries(log *zap.Logger) {
	log = log.Named("klog")
	klog.SetLogger(funcr.New(func(prefix, args string) { log.Debug(prefix, zap.String("args", args)) }, funcr.Options{}))
}
