// What is for Node, Deno and Bun alone.

export { type FileOptions, fileStore } from './store/file'
