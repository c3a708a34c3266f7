// One WhatsApp account on unmodified Baileys, driven over stdin and stdout.
//
//   node peer.mjs FOLDER [7|6]
//
// FOLDER keeps the login (`useMultiFileAuthState`). Each line in is a command,
// `{"seq": 1, "do": "send", …}`, answered once by `{"reply": 1, …}` or
// `{"reply": 1, "error": "…"}`. Each other line out is an event. The Rust side,
// src/, types both. The peer never reconnects on its own.

import { createInterface } from 'node:readline'

const [folder, major = '7'] = process.argv.slice(2)

// stdout belongs to the protocol; libsignal logs whole sessions, keys included.
for (const level of ['log', 'info', 'warn', 'error', 'debug', 'trace']) {
	console[level] = (text) => process.stderr.write(`${typeof text === 'string' ? text : typeof text}\n`)
}

const { makeWASocket, useMultiFileAuthState } = await import(major === '6' ? 'baileys6' : 'baileys')
const { default: pino } = await import('pino')

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const logger = pino({ level: process.env.BAILEYS_LOG ?? 'silent' }, pino.destination(2))

const RECEIPTS = { 0: 'error', 1: 'pending', 2: 'sent', 3: 'delivered', 4: 'read', 5: 'played' }
const SENT_MAX = 1000
const FLUSH_MS = 200

let url
let socket
let isOpen = false
let saved = Promise.resolve()
// What was sent, for peers that ask again.
const sent = new Map()

const tellStatus = (key, status) => {
	if (status === undefined || status === null) return
	say({ event: 'update', id: key.id, chat: key.remoteJid, fromMe: !!key.fromMe, status: RECEIPTS[status] })
}

const textOf = (message) => message?.conversation ?? message?.extendedTextMessage?.text ?? null

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
		// Otherwise the first login waits 20 s for a history that is not sent.
		shouldSyncHistoryMessage: () => false,
		getMessage: async ({ id }) => sent.get(id)
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
			if (text !== null) say({ event: 'message', ...common, text, live: type === 'notify' })
			else if (messageStubType && !message) say({ event: 'undecryptable', ...common })
			// An update that was buffered together with its message is merged into it.
			if (key.fromMe) tellStatus(key, status)
		}
	})
	current.ev.on('messages.update', (updates) => {
		for (const { key, update: { status } } of updates) tellStatus(key, status)
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
		sent.set(message.key.id, message.message)
		if (sent.size > SENT_MAX) sent.delete(sent.keys().next().value)
		return { id: message.key.id }
	},
	pairingCode: async ({ phone }) => ({ code: await connected().requestPairingCode(phone) }),
	read: async ({ jid, ids }) => {
		await connected().readMessages(ids.map((id) => ({ remoteJid: jid, id, fromMe: false })))
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
