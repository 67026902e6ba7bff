// Package audit records who did what: a line of JSON (audit.k8s.io/v1 Event) for each stage of each request that the
// policy asks for, in a file that is rotated. Without a policy nothing of it runs.
package audit

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"gopkg.in/natefinch/lumberjack.v2"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	upstream "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
)

// Stdout as a path writes the records to the standard output.
const Stdout = "-"

// Config of a Log.
type Config struct {
	// PolicyFile holds an audit.k8s.io/v1 Policy.
	PolicyFile string
	// Path is the file to write, or Stdout. It is rotated when it has MaxSize megabytes (100 when 0); MaxBackups old files
	// are kept for MaxAge days, 0 for no bound, and packed with Compress.
	Path                        string
	MaxSize, MaxBackups, MaxAge int
	Compress                    bool
	Metrics                     prometheus.Registerer
	// Log is nil for none.
	Log *zap.Logger
}

// Log takes records. It is safe for concurrent use; Run writes them.
type Log struct {
	policy  upstream.PolicyRuleEvaluator
	sink    *sink
	written *prometheus.CounterVec
	log     *zap.Logger
}

// New reads the policy and makes sure that the file can be written.
func New(config Config) (*Log, error) {
	rules, err := policy.LoadPolicyFromFile(config.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("read the audit policy: %w", err)
	}
	out, err := open(&config)
	if err != nil {
		return nil, err
	}
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	l := &Log{policy: policy.NewPolicyRuleEvaluator(rules), log: config.Log.Named("audit")}
	l.sink = newSink(out, l.log)
	l.written = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_audit_level_total", Help: "Counter of policy levels for audit events (1 per request)."}, []string{"level"})
	if config.Metrics != nil {
		for _, c := range []prometheus.Collector{l.written, l.sink.events, l.sink.lost} {
			if err := config.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("register the metrics of auditing: %w", err)
			}
		}
	}
	return l, nil
}

// open returns the file, once it is known that it can be written. Only its owner may read it.
func open(config *Config) (io.WriteCloser, error) {
	if config.Path == Stdout {
		return struct {
			io.Writer
			io.Closer
		}{os.Stdout, io.NopCloser(nil)}, nil
	}
	const private, folder = 0o600, 0o700
	if err := os.MkdirAll(filepath.Dir(config.Path), folder); err != nil {
		return nil, fmt.Errorf("make the folder of the audit log: %w", err)
	}
	f, err := os.OpenFile(config.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, private)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return &lumberjack.Logger{Filename: config.Path, MaxSize: config.MaxSize, MaxBackups: config.MaxBackups, MaxAge: config.MaxAge, Compress: config.Compress}, nil
}

// Run writes records until ctx ends. Those that come later are still written, by whoever makes them.
func (l *Log) Run(ctx context.Context) error { return l.sink.run(ctx) }

// Begin starts the record of a call, which travels in the returned context. A nil Log, and methods that nobody wants to
// hear of, have none: all methods of a nil Record do nothing.
func (l *Log) Begin(ctx context.Context, method string) (context.Context, *Record) {
	if l == nil || quiet(ctx, method) {
		return ctx, nil
	}
	r := &Record{log: l, method: method, event: auditv1.Event{RequestReceivedTimestamp: now()}}
	r.readMetadata(ctx)
	return context.WithValue(ctx, key{}, r), r
}

type key struct{}

// From returns the record of the call that ctx belongs to, nil when it has none.
func From(ctx context.Context) *Record {
	r, _ := ctx.Value(key{}).(*Record)
	return r
}

// patience bounds how long a request waits for its record to find room.
const patience = 10 * time.Second
