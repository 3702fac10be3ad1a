// Package log is a client of log.v1.LogService, the unified log: built in, and answered by every node itself.
package log

import (
	"context"
	"fmt"

	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

// Service is the name to require.
const Service = "log.v1.LogService"

// Level says how much a record matters.
type Level int32

const (
	LevelDebug Level = iota + 1
	LevelInfo
	LevelWarn
	LevelError
)

// Client writes records. The kernel adds the guest's name, the call's id and the clock.
type Client struct {
	service *parigot.Client
}

// LocateLogService gives a client, after the launch of a guest that required the service.
func LocateLogService() (*Client, error) {
	service, err := parigot.Locate(Service)
	if err != nil {
		return nil, err
	}
	return &Client{service}, nil
}

// Debug, Info, Warn and Error add a record. Fields come in pairs, a name and a value of any type:
//
//	log.Info(ctx, "sold", "title", item.Title, "price", 2400)
func (c *Client) Debug(ctx context.Context, text string, fields ...any) error {
	return c.Log(ctx, LevelDebug, text, fields...)
}

// Info adds a record of level info; see [Client.Debug].
func (c *Client) Info(ctx context.Context, text string, fields ...any) error {
	return c.Log(ctx, LevelInfo, text, fields...)
}

// Warn adds a record of level warn; see [Client.Debug].
func (c *Client) Warn(ctx context.Context, text string, fields ...any) error {
	return c.Log(ctx, LevelWarn, text, fields...)
}

// Error adds a record of level error; see [Client.Debug].
func (c *Client) Error(ctx context.Context, text string, fields ...any) error {
	return c.Log(ctx, LevelError, text, fields...)
}

// Log adds a record of any level; see [Client.Debug].
func (c *Client) Log(ctx context.Context, level Level, text string, fields ...any) error {
	body := wire.AppendInteger(nil, 1, level)
	body = wire.AppendString(body, 2, text)
	for len(fields) > 0 {
		name, value := fmt.Sprint(fields[0]), "(no value)"
		if len(fields) > 1 {
			value = fmt.Sprint(fields[1])
		}
		entry := wire.AppendString(wire.AppendString(nil, 1, name), 2, value)
		body = wire.AppendBytes(body, 3, entry)
		fields = fields[min(2, len(fields)):]
	}
	_, err := c.service.Call(ctx, "Log", body)
	return err
}
