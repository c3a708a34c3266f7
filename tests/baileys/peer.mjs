// One WhatsApp account on unmodified Baileys, driven over stdin and stdout.
//
//   node peer.mjs FOLDER [7|6]
//
// FOLDER keeps the login (`useMultiFileAuthState`). Each line in is a command,
// `{"seq": 1, "do": "send", …}`, answered once by `{"reply": 1, …}` or
// `{"reply": 1, "error": "…"}`. Each other line out is an event. The Rust side,
// src/, types both. The peer never reconnects on its own.

import { createHash, randomBytes } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'
import { syncBuiltinESMExports } from 'node:module'
import { createInterface } from 'node:readline'

const [folder, major = '7'] = process.argv.slice(2)

// stdout belongs to the protocol; libsignal logs whole sessions, keys included.
for (const level of ['log', 'info', 'warn', 'error', 'debug', 'trace']) {
	console[level] = (text) => process.stderr.write(`${typeof text === 'string' ? text : typeof text}\n`)
}

const {
	makeWASocket, useMultiFileAuthState, decryptPollVote, downloadMediaMessage, jidNormalizedUser,
	aesEncryptGCM, hmacSign, proto
} = await import(major === '6' ? 'baileys6' : 'baileys')
const { default: pino } = await import('pino')

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const logger = pino({ level: process.env.BAILEYS_LOG ?? 'silent' }, pino.destination(2))

// Where the media host is: the simulator's, by plain HTTP, which Baileys has no
// option for.
let mediaUrl
const elsewhere = (url) => {
	const { hostname, pathname, search } = new URL(url)
	return mediaUrl && hostname.endsWith('.whatsapp.net') ? `${mediaUrl}${pathname}${search}` : String(url)
}
const realFetch = globalThis.fetch
globalThis.fetch = (url, options = {}) => realFetch(elsewhere(url), { ...options, dispatcher: undefined })
const realRequest = https.request
https.request = (options, answer) => {
	const { hostname, path } = options
	const url = new URL(elsewhere(`https://${hostname}${path}`))
	if (url.protocol === 'https:') return realRequest(options, answer)
	const { method, headers } = options
	return http.request({ hostname: url.hostname, port: url.port, path: url.pathname + url.search, method, headers }, answer)
}
syncBuiltinESMExports()

const sha256 = (text) => createHash('sha256').update(text).digest()

const RECEIPTS = { 0: 'error', 1: 'pending', 2: 'sent', 3: 'delivered', 4: 'read', 5: 'played' }
const SENT_MAX = 1000
const FLUSH_MS = 200

let url
let wantsHistory = false
let socket
let isOpen = false
let saved = Promise.resolve()
// What was sent, for peers that ask again.
const sent = new Map()
// What came.
const received = new Map()

const tellStatus = (key, status) => {
	if (status === undefined || status === null) return
	say({ event: 'update', id: key.id, chat: key.remoteJid, fromMe: !!key.fromMe, status: RECEIPTS[status] })
}

const textOf = (message) => message?.conversation ?? message?.extendedTextMessage?.text ?? null

const remember = (messages, id, message) => {
	messages.set(id, message)
	if (messages.size > SENT_MAX) messages.delete(messages.keys().next().value)
}

// People have two addresses, and a vote is encrypted for one pair of them.
const addresses = (...all) => [...new Set(all.filter(Boolean).map((jid) => jidNormalizedUser(jid)))]
const own = () => addresses(socket.user.id, socket.user.lid)

// Baileys decrypts votes on request only.
const tellVote = (key, { pollCreationMessageKey: { id }, vote }) => {
	const poll = sent.get(id)
	const creation = poll?.pollCreationMessage ?? poll?.pollCreationMessageV3
	if (!creation) return
	for (const pollCreatorJid of own()) {
		for (const voterJid of addresses(key.remoteJid, key.remoteJidAlt)) {
			try {
				const pollEncKey = poll.messageContextInfo.messageSecret
				const { selectedOptions } = decryptPollVote(vote, { pollCreatorJid, pollMsgId: id, pollEncKey, voterJid })
				const hashes = selectedOptions.map((hash) => Buffer.from(hash).toString('hex'))
				const isChosen = ({ optionName }) => hashes.includes(sha256(optionName).toString('hex'))
				say({ event: 'votes', id, chosen: creation.options.filter(isChosen).map(({ optionName }) => optionName) })
				return
			} catch {
				// For another pair.
			}
		}
	}
}

// The inverse of Baileys' `decryptPollVote`, with its own primitives: it reads
// votes, but sends none.
const sealVote = (options, { pollCreatorJid, pollMsgId, pollEncKey, voterJid }) => {
	const bytes = (text) => Buffer.from(text)
	const sign = Buffer.concat([
		bytes(pollMsgId), bytes(pollCreatorJid), bytes(voterJid), bytes('Poll Vote'), Buffer.from([1])
	])
	const key = hmacSign(sign, hmacSign(pollEncKey, new Uint8Array(32), 'sha256'), 'sha256')
	const plain = proto.Message.PollVoteMessage.encode({ selectedOptions: options.map((name) => sha256(name)) }).finish()
	const encIv = randomBytes(12)
	return { encPayload: aesEncryptGCM(plain, key, encIv, bytes(`${pollMsgId}\u0000${voterJid}`)), encIv }
}

// A recipient may ask for a message again before `sendMessage` has returned it.
const soon = async (look) => {
	for (let waits = 0; waits < 50 && !look(); waits++) await new Promise((done) => setTimeout(done, 50))
	return look()
}

const connect = async () => {
	if (socket) throw new Error('already connected')
	await saved
	const { state, saveCreds } = await useMultiFileAuthState(folder)
	// Without a name Baileys announces no presence, and its receipts are
	// `inactive` ones.
	if (state.creds.me) state.creds.me.name ??= 'Peer'
	const current = makeWASocket({
		auth: state,
		waWebSocketUrl: url,
		logger,
		syncFullHistory: false,
		// The first login waits for it.
		shouldSyncHistoryMessage: () => wantsHistory,
		getMessage: async ({ id }) => await soon(() => sent.get(id))
	})
	socket = current
	current.ev.on('creds.update', () => {
		saved = saved.then(saveCreds)
	})
	// Baileys 6 shows what was kept while it was away only with the next live
	// message; its own `flush` does it sooner.
	const flushing = major === '6' && setInterval(() => isOpen && current.ev.flush(), FLUSH_MS)
	current.ev.on('connection.update', ({ connection, qr, lastDisconnect }) => {
		if (qr) say({ event: 'qr', code: qr })
		if (connection === 'open') {
			isOpen = true
			say({ event: 'open', jid: current.user.id, lid: current.user.lid ?? null })
		}
		if (connection === 'close') {
			isOpen = false
			clearInterval(flushing)
			if (socket === current) socket = undefined
			const error = lastDisconnect?.error
			say({ event: 'close', code: error?.output?.statusCode ?? null, reason: error?.message ?? null })
		}
	})
	current.ev.on('messages.upsert', ({ messages, type }) => {
		for (const { key, message, messageStubType, status } of messages) {
			const text = textOf(message)
			const common = { id: key.id, from: key.remoteJid, fromMe: !!key.fromMe }
			// In a group: by number, where Baileys knows it.
			const by = key.participant ? (key.participantAlt ?? key.participant) : undefined
			if (text !== null) say({ event: 'message', ...common, by, text, live: type === 'notify' })
			// As protobuf's own JSON: what a message holds, field by field.
			if (message) say({ event: 'content', ...common, content: JSON.stringify(message) })
			if (message?.pollUpdateMessage) tellVote(key, message.pollUpdateMessage)
			if (message) remember(received, key.id, message)
			else if (messageStubType && !message) say({ event: 'undecryptable', ...common })
			// An update that was buffered together with its message is merged into it.
			if (key.fromMe) tellStatus(key, status)
		}
	})
	current.ev.on('messaging-history.set', ({ chats, contacts, messages }) => {
		const texts = messages.map(({ message }) => textOf(message)).filter((text) => text !== null)
		const names = contacts.map(({ name, notify }) => name ?? notify).filter(Boolean)
		say({ event: 'history', chats: chats.map(({ id }) => id), texts, names })
	})
	const tellChats = (chats) => {
		for (const { id, archived } of chats) {
			if (archived !== undefined) say({ event: 'archived', chat: id, archived })
		}
	}
	current.ev.on('chats.update', tellChats)
	current.ev.on('chats.upsert', tellChats)
	const tellContacts = (contacts) => {
		for (const { id, name } of contacts) {
			if (name) say({ event: 'contact', id, name })
		}
	}
	current.ev.on('contacts.upsert', tellContacts)
	current.ev.on('contacts.update', tellContacts)
	current.ev.on('messages.update', (updates) => {
		for (const { key, update: { status } } of updates) tellStatus(key, status)
	})
	current.ev.on('groups.upsert', (groups) => {
		for (const { id } of groups) say({ event: 'group', group: id, change: 'create' })
	})
	current.ev.on('groups.update', (groups) => {
		for (const { id } of groups) say({ event: 'group', group: id, change: 'update' })
	})
	current.ev.on('group-participants.update', ({ id, action }) => say({ event: 'group', group: id, change: action }))
	current.ev.on('presence.update', ({ id, presences }) => {
		for (const [by, { lastKnownPresence }] of Object.entries(presences)) {
			say({ event: 'presence', chat: id, by, state: lastKnownPresence })
		}
	})
	current.ev.on('message-receipt.update', (receipts) => {
		for (const { key, receipt } of receipts) {
			const status = receipt.readTimestamp ? 'read' : 'delivered'
			say({ event: 'receipt', id: key.id, chat: key.remoteJid, by: receipt.userJid, status })
		}
	})
}

const connected = () => {
	if (!socket) throw new Error('not connected')
	return socket
}

const commands = {
	connect: async (command) => {
		url = command.url
		await connect()
	},
	reconnect: async () => {
		if (!url) throw new Error('never connected')
		await connect()
	},
	disconnect: async () => {
		await connected().end(undefined)
		await saved
	},
	send: async ({ jid, text, id }) => {
		const message = await connected().sendMessage(jid, { text }, id ? { messageId: id } : {})
		remember(sent, message.key.id, message.message)
		return { id: message.key.id }
	},
	// Anything that Baileys can send; `content` and `quoted` are its own shapes.
	sendContent: async ({ jid, content, quoted, options }) => {
		const message = await connected().sendMessage(jid, content, { ...(quoted ? { quoted } : {}), ...options })
		remember(sent, message.key.id, message.message)
		return { id: message.key.id }
	},
	media: async ({ url }) => {
		mediaUrl = url
	},
	// Before it connects for the first time.
	wantHistory: async () => {
		wantsHistory = true
	},
	// The hash of the file that came with a message, or of one to be sent.
	download: async ({ id }) => {
		const file = await downloadMediaMessage({ key: { id }, message: received.get(id) }, 'stream', {})
		const hash = createHash('sha256')
		let bytes = 0
		for await (const piece of file) {
			hash.update(piece)
			bytes += piece.length
		}
		return { sha256: hash.digest('hex'), bytes }
	},
	// Sends a file of this machine; `as` is Baileys' name for its kind.
	sendFile: async ({ jid, path, as, options }) => {
		const message = await connected().sendMessage(jid, { [as]: { url: path }, ...options })
		remember(sent, message.key.id, message.message)
		return { id: message.key.id }
	},
	pairingCode: async ({ phone }) => ({ code: await connected().requestPairingCode(phone) }),
	vote: async ({ jid, poll, options }) => {
		const pollEncKey = received.get(poll).messageContextInfo.messageSecret
		const [voterJid] = own()
		const vote = sealVote(options, { pollCreatorJid: jid, pollMsgId: poll, pollEncKey, voterJid })
		const pollCreationMessageKey = { remoteJid: jid, fromMe: false, id: poll }
		const id = await connected().relayMessage(jid, { pollUpdateMessage: { pollCreationMessageKey, vote } }, {})
		return { id }
	},
	read: async ({ jid, ids, participant }) => {
		await connected().readMessages(ids.map((id) => ({ remoteJid: jid, id, fromMe: false, participant })))
	},
	// One of Baileys' own functions for groups, by name.
	group: async ({ call, args }) => {
		if (!/^group[A-Z][A-Za-z]*$/.test(call)) throw new Error('not a function for groups')
		return { result: (await connected()[call](...args)) ?? null }
	},
	presence: async ({ state, jid }) => {
		await connected().sendPresenceUpdate(state, jid ?? undefined)
	},
	presenceSubscribe: async ({ jid }) => {
		await connected().presenceSubscribe(jid)
	},
	state: async () => ({ open: isOpen, jid: socket?.user?.id ?? null, lid: socket?.user?.lid ?? null }),
	quit: async () => {
		if (socket) await socket.end(undefined)
		await saved
	}
}

const run = async (line) => {
	const command = JSON.parse(line)
	try {
		say({ reply: command.seq, ...(await commands[command.do](command)) })
	} catch (error) {
		say({ reply: command.seq, error: error.message })
	}
	if (command.do === 'quit') process.exit(0)
}

// A rejected promise inside Baileys must not end the peer unnoticed.
process.on('unhandledRejection', (error) => say({ event: 'trouble', error: String(error?.message ?? error) }))

createInterface({ input: process.stdin })
	.on('line', (line) => void run(line))
	// Whoever drove this is gone.
	.on('close', () => process.exit(0))
