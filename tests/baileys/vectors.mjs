// Writes the known vectors of wa-sim: what Baileys and its libsignal make of
// nodes, signatures and sessions. Run once per Baileys version:
//
//   npm ci --prefix tests/baileys && node tests/baileys/vectors.mjs
//
// Keys are drawn anew each time and are good for nothing else.

import { writeFileSync } from 'node:fs'
import { encodeBinaryNode } from 'baileys'
import libsignal from 'libsignal'
import * as curve from 'libsignal/src/curve.js'

const target = (path) => new URL(`../wa-sim/src/${path}`, import.meta.url)
// One vector a line.
const lines = (list) => `[\n${list.map((item) => JSON.stringify(item)).join(',\n')}\n]`
const save = (path, text) => writeFileSync(target(path), text + '\n')
const hex = (bytes) => Buffer.from(bytes).toString('hex')

// --- Nodes -----------------------------------------------------------------

const long = (length) => 'long text '.repeat(Math.ceil(length / 10)).slice(0, length)
const nodes = [
	{ tag: 'iq', attrs: {} },
	{ tag: 'iq', attrs: { id: '12.34-5', type: 'get', xmlns: 'w:p', to: '@s.whatsapp.net' } },
	{ tag: 'message', attrs: { to: '15550001111@s.whatsapp.net', id: '3EB0ABCDEF0123456789', type: 'text' } },
	{ tag: 'to', attrs: { jid: '15550001111:7@s.whatsapp.net' } },
	{ tag: 'to', attrs: { jid: '198765432100001:33@lid' } },
	{ tag: 'to', attrs: { jid: '198765432100001@lid' } },
	{ tag: 'group', attrs: { jid: '120363000000000001@g.us', old: '15550001111-1600000000@g.us' } },
	{ tag: 'status', attrs: { to: 'status@broadcast' } },
	{ tag: 'x', attrs: { odd: '123', even: '1234', hex: 'ABC', lower: 'abc', empty: '', dot: '1.2-3' } },
	{ tag: 'x', attrs: { utf8: 'Grüße 🌍', dictionary: 'read-self' } },
	{ tag: 'ref', attrs: {}, content: Buffer.from('2@abcDEF') },
	{ tag: 'enc', attrs: { v: '2', type: 'pkmsg' }, content: Buffer.alloc(256, 7) },
	{ tag: 'enc', attrs: {}, content: Buffer.alloc(0) },
	{ tag: 'x', attrs: { text: long(300) }, content: Buffer.from(long(5000)) },
	{ tag: 'list', attrs: {}, content: [] },
	{
		tag: 'iq',
		attrs: { to: '@s.whatsapp.net', type: 'result', id: '1' },
		content: [
			{ tag: 'pair-device', attrs: {}, content: [{ tag: 'ref', attrs: {}, content: Buffer.from('r') }] },
			{ tag: 'error', attrs: { code: '401', text: 'not-authorized' } }
		]
	},
	{
		tag: 'list',
		attrs: {},
		content: Array.from({ length: 300 }, (_, index) => ({ tag: 'item', attrs: { id: String(index) } }))
	}
]

const plain = ({ tag, attrs, content }) => ({
	tag,
	attrs: Object.entries(attrs),
	...(Array.isArray(content) ? { children: content.map(plain) } : content ? { bytes: hex(content) } : {})
})

// The first byte is the flag.
save(
	'wire/codec/vectors.json',
	lines(nodes.map((node) => ({ node: plain(node), hex: hex(encodeBinaryNode(node).subarray(1)) })))
)

// --- Signatures ------------------------------------------------------------

const pair = () => {
	const { pubKey, privKey } = curve.generateKeyPair()
	return { public: pubKey, private: Buffer.from(privKey) }
}

const signatures = Array.from({ length: 16 }, (_, index) => {
	const key = pair()
	const message = Buffer.from(long(index * 9))
	return {
		private: hex(key.private),
		public: hex(key.public.subarray(1)),
		message: hex(message),
		signature: hex(curve.calculateSignature(key.private, message))
	}
})

// --- A session: Alice is libsignal, Bob is to read what she wrote ----------

const storage = (identity, registrationId) => {
	const sessions = new Map()
	return {
		loadSession: async (address) => sessions.get(address),
		storeSession: async (address, record) => void sessions.set(address, record),
		isTrustedIdentity: async () => true,
		getOurIdentity: async () => ({ pubKey: identity.public, privKey: identity.private }),
		getOurRegistrationId: async () => registrationId
	}
}

const session = async (oneTime) => {
	const [alice, bob, signedPreKey, preKey] = [pair(), pair(), pair(), pair()]
	const signature = curve.calculateSignature(bob.private, signedPreKey.public)
	const aliceStore = storage(alice, 4711)
	const address = new libsignal.ProtocolAddress('bob', 1)
	await new libsignal.SessionBuilder(aliceStore, address).initOutgoing({
		registrationId: 815,
		identityKey: bob.public,
		signedPreKey: { keyId: 1, publicKey: signedPreKey.public, signature },
		...(oneTime ? { preKey: { keyId: 9, publicKey: preKey.public } } : {})
	})
	const messages = []
	for (const text of ['first', 'second', 'third']) {
		const { type, body } = await new libsignal.SessionCipher(aliceStore, address).encrypt(Buffer.from(text))
		messages.push({ text, kind: type === 3 ? 'pkmsg' : 'msg', hex: hex(body) })
	}
	return {
		registrationId: 815,
		identity: hex(bob.private),
		signedPreKey: hex(signedPreKey.private),
		signedPreKeySignature: hex(signature),
		preKeyId: 9,
		preKey: hex(preKey.private),
		alice: { identity: hex(alice.public.subarray(1)), registrationId: 4711 },
		oneTime,
		messages
	}
}

const sessions = [await session(true), await session(false)]
save('signal/vectors.json', `{"signatures": ${lines(signatures)},\n"sessions": ${lines(sessions)}}`)
