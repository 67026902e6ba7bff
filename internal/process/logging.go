package process

import (
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// LogFormat is how log lines are written.
type LogFormat string

// Console is for people, JSON for machines.
const (
	Console LogFormat = "console"
	JSON    LogFormat = "json"
)

const (
	sampleTick       = time.Second
	sampleFirst      = 100
	sampleThereafter = 100
)

// NewLogger returns a logger that writes lines to w and the level that can be changed while it runs. The level is
// "debug", "info", "warn" or "error". Bursts of one message are sampled, so that a failing loop cannot fill a disk.
func NewLogger(w io.Writer, format LogFormat, level string) (*zap.Logger, zap.AtomicLevel, error) {
	at, err := zap.ParseAtomicLevel(level)
	if err != nil {
		return nil, at, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.ISO8601TimeEncoder
	config.EncodeDuration = zapcore.StringDurationEncoder
	encoders := map[LogFormat]func(zapcore.EncoderConfig) zapcore.Encoder{Console: zapcore.NewConsoleEncoder, JSON: zapcore.NewJSONEncoder}
	encoder, ok := encoders[format]
	if !ok {
		return nil, at, fmt.Errorf("log format %q: use console or json", format)
	}
	core := zapcore.NewCore(encoder(config), zapcore.Lock(zapcore.AddSync(w)), at)
	return zap.New(zapcore.NewSamplerWithOptions(core, sampleTick, sampleFirst, sampleThereafter)), at, nil
}
