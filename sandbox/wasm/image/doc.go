// Package image keeps what a started guest's memory holds, and makes copy-on-write memories of it.
package image
