// Documents of Yjs, for text editors: `annulus-client/yjs`.

export { YjsProvider, type YjsProviderOptions } from './yjs/provider'
