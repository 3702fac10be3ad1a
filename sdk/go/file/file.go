// Package file is a client of file.v1.FileService: files that outlive the app, in one folder that all its guests share.
// A path is relative, its parts joined by "/"; none of them is empty, "." or "..".
package file

import (
	"context"

	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

// Service is the name to require.
const Service = "file.v1.FileService"

// Client reads and writes files.
type Client struct {
	service *parigot.Client
}

// LocateFileService gives a client, after the launch of a guest that required the service.
func LocateFileService() (*Client, error) {
	service, err := parigot.Locate(Service)
	if err != nil {
		return nil, err
	}
	return &Client{service}, nil
}

// Read gives the whole content of a file. The error's code is NotFound when there is no such file.
func (c *Client) Read(ctx context.Context, path string) ([]byte, error) {
	var content []byte
	err := c.call(ctx, "Read", path, nil, func(f wire.Field) { content = f.Bytes })
	return content, err
}

// Write puts the content in place of what was there, whole or not at all.
func (c *Client) Write(ctx context.Context, path string, content []byte) error {
	return c.call(ctx, "Write", path, content, nil)
}

// Append adds to the end of a file, which is made when absent.
func (c *Client) Append(ctx context.Context, path string, content []byte) error {
	return c.call(ctx, "Append", path, content, nil)
}

// List gives the paths that start with the prefix, sorted.
func (c *Client) List(ctx context.Context, prefix string) ([]string, error) {
	var paths []string
	err := c.call(ctx, "List", prefix, nil, func(f wire.Field) { paths = append(paths, f.String()) })
	return paths, err
}

// Delete removes a file. The error's code is NotFound when there is no such file.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.call(ctx, "Delete", path, nil, nil)
}

// call serves all methods: each request is a path and perhaps content, each reply at most one field, its number 1.
func (c *Client) call(ctx context.Context, method, path string, content []byte, result func(wire.Field)) error {
	request := wire.AppendBytes(wire.AppendString(nil, 1, path), 2, content)
	reply, err := c.service.Call(ctx, method, request)
	if err != nil {
		return err
	}
	return wire.Read(reply, func(f wire.Field) error {
		if f.Number == 1 && result != nil {
			result(f)
		}
		return nil
	})
}
